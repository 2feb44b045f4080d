"""The agents: the student, the teachers and the assistant, with the chat client and the ledger of paid calls."""
