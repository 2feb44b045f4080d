"""LangChain interfaces: the student as a Runnable and a chat model, knowledge as a retriever, the three graphs."""

from bundlewise.graphs.assistant import build_assistant_graph
from bundlewise.graphs.student import build_student_graph
from bundlewise.graphs.teacher import build_teacher_graph
from bundlewise.langchain.chat_model import ChatBundlewise
from bundlewise.langchain.retriever import KnowledgeRetriever
from bundlewise.langchain.runnable import StudentRunnable

__all__ = [
    "ChatBundlewise",
    "KnowledgeRetriever",
    "StudentRunnable",
    "build_assistant_graph",
    "build_student_graph",
    "build_teacher_graph",
]
