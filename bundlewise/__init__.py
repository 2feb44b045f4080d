"""Find product bundles in a shopper's session with a small model that uses the knowledge of a large one.

    import bundlewise

    sessions = bundlewise.load_sessions("electronics")
    kb = bundlewise.distil(sessions, teacher="grounded", path="kb")
    adapter = bundlewise.finetune(sessions, kb, "adapter")
    student = bundlewise.Student.open(kb=kb, adapter=adapter)
    for bundle in student.bundle(["Padmoor Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries"]):
        print(bundle)
    print(bundlewise.evaluate(sessions, student.answer(sessions.test)))

The names in `__all__` are public; each is imported when it is first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundlewise.bundles import FoundBundle
    from bundlewise.data.session_list import Sessions, load_sessions
    from bundlewise.domain import Bundle, Item, Knowledge, PredictedBundle, Prediction, Retrieved, Session
    from bundlewise.errors import BundlewiseError
    from bundlewise.evaluation.scores import Scores, evaluate
    from bundlewise.finetune.adapters import Adapter
    from bundlewise.graphs.teacher_state import Dials
    from bundlewise.knowledge_base.policy import Policy
    from bundlewise.pipeline.assistant import Assistant
    from bundlewise.pipeline.distil import Payment
    from bundlewise.pipeline.knowledge_base import KnowledgeBase, distil
    from bundlewise.pipeline.student import Student
    from bundlewise.pipeline.tune import finetune

__version__ = "0.1.0"
__all__ = [
    "Adapter",
    "Assistant",
    "Bundle",
    "BundlewiseError",
    "Dials",
    "FoundBundle",
    "Item",
    "Knowledge",
    "KnowledgeBase",
    "Payment",
    "Policy",
    "PredictedBundle",
    "Prediction",
    "Retrieved",
    "Scores",
    "Session",
    "Sessions",
    "Student",
    "__version__",
    "distil",
    "evaluate",
    "finetune",
    "load_sessions",
]
HOMES = {
    "bundles": ("FoundBundle",),
    "data.session_list": ("Sessions", "load_sessions"),
    "domain": ("Bundle", "Item", "Knowledge", "PredictedBundle", "Prediction", "Retrieved", "Session"),
    "errors": ("BundlewiseError",),
    "evaluation.scores": ("Scores", "evaluate"),
    "finetune.adapters": ("Adapter",),
    "graphs.teacher_state": ("Dials",),
    "knowledge_base.policy": ("Policy",),
    "pipeline.assistant": ("Assistant",),
    "pipeline.distil": ("Payment",),
    "pipeline.knowledge_base": ("KnowledgeBase", "distil"),
    "pipeline.student": ("Student",),
}
"""The public names by the module that has them; `finetune` is missing, since it is a package that can be called."""


class _Function(ModuleType):
    """The package `bundlewise.finetune`, which can also be called as the function `finetune`."""

    def __call__(self, *given: Any, **settings: Any) -> Any:
        return _function()(*given, **settings)

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(_function())

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return _function().__doc__

    def __reduce__(self) -> Any:
        return import_module, (self.__name__,)


def _function() -> Any:
    """Return the function `finetune`."""
    return import_module("bundlewise.pipeline.tune").finetune


class _Face(ModuleType):
    """The package `bundlewise`: when Python binds its sub-package `finetune`, it makes that callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "finetune" and isinstance(value, ModuleType):
            value.__class__ = _Function
        super().__setattr__(name, value)


def _public(name: str) -> Any:
    """Import a public name."""
    if name not in __all__:
        raise AttributeError(f"module 'bundlewise' has no attribute {name!r}; public are: {', '.join(__all__)}")
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    if name == "finetune":
        return import_module("bundlewise.finetune")
    home = next(home for home, names in HOMES.items() if name in names)
    globals()[name] = getattr(import_module(f"bundlewise.{home}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:
    # With a module `__getattr__`, a type checker would accept any name.
    __getattr__ = _public
    sys.modules[__name__].__class__ = _Face
