"""The language models' side: student, teachers and assistant, each in a room of its own."""
