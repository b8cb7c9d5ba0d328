# SPDX-License-Identifier: Apache-2.0
"""What a model is: its family and subfamily, by its files, its class, its tasks, its methods or its name.

    from model_family_classifier import classify_model
    classify_model("bert-base-uncased")["family"]     # "embedding"

Nothing is loaded and no network is asked. Wrong types of arguments are TypeError, names that are no
family ValueError; a folder, file or database that is damaged raises the library's error.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Union

from . import _core, _shapes

__all__ = [
    "FAMILIES", "SUBFAMILIES", "ModelFamilyClassifier", "classify_model",
    "get_template_for_family", "update_model_database",
]

Path = Union[str, "os.PathLike[str]"]

#: The families, and the subfamilies of each; those of "unknown" may be of any family.
FAMILIES: tuple[str, ...] = _shapes.FAMILIES
SUBFAMILIES: dict[str, tuple[str, ...]] = dict(_core._FAMILIES)

_TEMPLATES = {name: f"hf_{name}_template.py" for name in FAMILIES if name != "unknown"}


def get_template_for_family(family: str | None, subfamily: str | None = None) -> str:
    """The file name of the test template of a family: "hf_embedding_template.py"; "hf_template.py"
    where the family is unknown. No subfamily has one of its own yet."""
    _shapes.text(subfamily, "subfamily", optional=True)
    return _TEMPLATES.get(_shapes.text(family, "family", optional=True), "hf_template.py")


def classify_model(model_name: str, model_class: str | type | None = None,
                   tasks: Sequence[str] | None = None, methods: Sequence[str] | None = None,
                   hw_compatibility: dict | None = None,
                   model_db_path: Path | None = None) -> dict[str, Any]:
    """The family of a model, and what each piece of evidence says by itself.

    model_name        a name, or the path of a folder or file, which then is looked into
    model_class       the name of its class ("BertForMaskedLM"), or the class
    tasks, methods    lists of str: tasks as hubs tag them ("fill-mask"); what its object can do
                      ("transcribe")
    hw_compatibility  taken for the sake of programs that pass it; where a model runs says nothing of
                      what it is, so it does not count
    model_db_path     a file {model: {family, subfamily?, confidence?}}: what it says of the name wins

    Returns {model_name, family, subfamily (None: not known), confidence (0 to 1), source, evidence?,
    analyses [{family, subfamily?, confidence, source, reason?}], subfamily_confidence?, template}.
    source is one of "database", "files", "architecture", "model_type", "graph", "task", "method",
    "name". A name that says nothing is family "unknown". NotFoundError: a path where nothing is;
    DataError: a damaged file.
    """
    hints = _hints(model_name, model_class, tasks, methods, hw_compatibility, model_db_path)
    found = _core._facts(**hints)
    result = {"model_name": model_name}
    result.update(_told(found))
    result["subfamily"] = found["subfamily"]
    if found["evidence"]:
        result["evidence"] = found["evidence"]
    if found["subfamily"]:
        result["subfamily_confidence"] = found["confidence"]
    result["analyses"] = _analyses(found, hints)
    result["template"] = get_template_for_family(found["family"], found["subfamily"])
    return result


def update_model_database(model_db_path: Path, model_name: str, family: str,
                          subfamily: str | None = None, confidence: float = 1.0) -> dict[str, Any]:
    """Record a model's family in a database file, which is made when there is none.

    confidence is from 0 to 1; 1 is a person's word. A recorded answer that is surer stays. Any number
    of processes may record at once. Returns what stands in the file afterwards. ArgumentError (a
    ValueError): no such family, or a confidence out of range; DataError: the file is damaged, and
    stays as it is.
    """
    where = _shapes.path(model_db_path, "model_db_path")
    if where is None:
        raise TypeError("model_db_path: a path is needed, not None")
    kept = _core._record(where, _shapes.text(model_name, "model_name"), _shapes.family(family, "family"),
                        _shapes.text(subfamily, "subfamily", optional=True), confidence)
    return {"model_name": model_name, **_told(kept)}


class ModelFamilyClassifier:
    """classify_model() with a database that is named once."""

    def __init__(self, model_db_path: Path | None = None):
        self.model_db_path = _shapes.path(model_db_path, "model_db_path")

    def classify_model(self, model_name: str, model_class: str | type | None = None,
                       tasks: Sequence[str] | None = None, methods: Sequence[str] | None = None,
                       hw_compatibility: dict | None = None) -> dict[str, Any]:
        """See classify_model()."""
        return classify_model(model_name, model_class, tasks, methods, hw_compatibility,
                              self.model_db_path)

    def get_template_for_family(self, family: str | None, subfamily: str | None = None) -> str:
        """See get_template_for_family()."""
        return get_template_for_family(family, subfamily)

    def update_model_db(self, model_name: str, family: str, subfamily: str | None = None,
                        confidence: float = 1.0) -> dict[str, Any]:
        """Record a model's family in the database; see update_model_database()."""
        return update_model_database(self.model_db_path, model_name, family, subfamily, confidence)


# --- evidence -----------------------------------------------------------------------------------


def _hints(model_name: Any, model_class: Any, tasks: Any, methods: Any, hw_compatibility: Any,
           model_db_path: Any) -> dict[str, Any]:
    if isinstance(model_class, type):
        model_class = model_class.__name__
    if hw_compatibility is not None and not isinstance(hw_compatibility, dict):
        raise TypeError(f"hw_compatibility: a dict is needed, not {type(hw_compatibility).__name__}")
    return {
        "name": _shapes.text(model_name, "model_name"),
        "model_class": _shapes.text(model_class, "model_class", optional=True),
        "tasks": _shapes.texts(tasks, "tasks"),
        "methods": _shapes.texts(methods, "methods"),
        "database": _shapes.path(model_db_path, "model_db_path"),
    }


def _told(found: dict) -> dict[str, Any]:
    told = {"family": found["family"], "confidence": found["confidence"], "source": found["source"]}
    if found["subfamily"]:
        told["subfamily"] = found["subfamily"]
    return told


def _analyses(found: dict, hints: dict) -> list[dict[str, Any]]:
    """What each piece of evidence says alone; the one that decided stands first."""
    name = hints["name"]
    rows = {found["source"]: _row(found["source"], found)}
    alone = {
        "database": hints["database"] and {"name": name, "database": hints["database"]},
        "architecture": hints["model_class"] and {"model_class": hints["model_class"]},
        "task": hints["tasks"] and {"tasks": hints["tasks"]},
        "method": hints["methods"] and {"methods": hints["methods"]},
        "name": {"name": os.path.basename(name.rstrip("/")) if os.path.exists(name) else name},
    }
    for source, given in alone.items():
        if given:
            rows.setdefault(source, _row(source, _core._classify(**{"name": None, **given})))
    return list(rows.values())


def _row(source: str, found: dict) -> dict[str, Any]:
    """An answer that another source gave means that this one had none."""
    if found["source"] != source:
        return {"family": "unknown", "confidence": 0.0, "source": source, "reason": "says nothing"}
    row = _told(found)
    if found["evidence"]:
        row["reason"] = found["evidence"]
    return row
