"""Where a recipe sends what its run has made, once that has come to its end."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.errors import FieldError

NAME = r"[A-Za-z0-9][\w.-]{0,95}"


def check_repository(name: str) -> str:
    """The name of a repository, which the Hub has with its owner's.

    Raises:
        FieldError: it is none.
    """
    if not re.fullmatch(f"{NAME}/{NAME}", name):
        fix = "write OWNER/NAME, of letters, digits, '-', '_' and '.'"
        raise FieldError(f"{name!r} is no repository of the Hub", fix=fix)
    return name


Repository = Annotated[str, AfterValidator(check_repository)]


class PushConfig(BaseModel):
    """Repositories of the Hub; the token is the one of `HF_TOKEN` or of `hf auth login`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    models: dict[str, Repository] = Field(default_factory=dict)
    """Repositories of trained models, by their names in the recipe: `{student: OWNER/NAME}`."""
    dataset: Repository | None = Field(default=None, examples=["OWNER/NAME"])
    """Repository of the data set."""
    public: bool = False
    """Whether everybody may see them; else whoever the owner lets."""

    @model_validator(mode="before")
    @classmethod
    def _pushes_something(cls, value: Any) -> Any:
        is_known = isinstance(value, dict) and value.keys() <= cls.model_fields.keys()
        if is_known and not value.get("models") and value.get("dataset") is None:
            raise FieldError("it pushes nothing", fix="write models: {student: OWNER/NAME}, or dataset: OWNER/NAME")
        return value
