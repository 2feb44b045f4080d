"""LangGraph state machines: the teacher and the student."""
