"""LangGraph state machines: the teacher, the student and the assistant."""
