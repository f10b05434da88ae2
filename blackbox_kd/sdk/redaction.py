"""The field of a step that takes personal data out of its rows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from blackbox_kd.analysis import personal_data
from blackbox_kd.errors import FieldError
from blackbox_kd.sandbox.functions import check_pattern
from blackbox_kd.sdk.step_config import StepConfig


class RedactingConfig(StepConfig):
    """A step that can take personal data out of its rows."""

    redact: list[str | dict[str, list[str] | str]] = Field(default_factory=list)
    """Personal data that marks such as `[email]` take the place of, in all columns and in all that is inside of them:
    `email`, `phone`, `card`, `iban`, `ip`, `ssn`, `key`; `{phone: [DE, AT]}` for the countries whose numbers may lack
    the `+`; and patterns of your own (RE2): `{order: "ORD-[0-9]+"}`."""

    def list_redacted(self) -> dict[str, list[str] | str | None]:
        """What is redacted, by kind."""
        kinds: dict[str, list[str] | str | None] = {}
        for each in self.redact:
            kinds |= {each: None} if isinstance(each, str) else each
        return kinds

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        for name, told in self.list_redacted().items():
            if name == "phone" and isinstance(told, list) and all(len(each) == 2 and each.isupper() for each in told):
                continue
            if name in personal_data.KINDS and told is not None:
                countries = "two letters for each country, such as [DE, AT]" if name == "phone" else "nothing"
                raise FieldError(f"redact: {name!r} takes {countries}", fix=f"write {name} alone, or another name")
            if name not in personal_data.KINDS and not isinstance(told, str):
                known = ", ".join(personal_data.KINDS)
                fix = f"name one of {known}, or give a pattern of your own: {{{name}: PATTERN}}"
                raise FieldError(f"redact: {name!r} is no kind of personal data that is known", fix=fix)
            if isinstance(told, str):
                check_pattern(told)
        return self

    def redacts(self) -> bool:
        """See `redact`."""
        return bool(self.redact)

    def needs(self) -> dict[str, str]:
        """What tells numbers of cards, accounts and phones from others."""
        packages = personal_data.PACKAGES
        return {packages[name]: "redact" for name in self.list_redacted() if name in packages}

    def take_out(self, columns: Mapping[str, Any]) -> tuple[dict[str, Any], Counter[str]]:
        """The columns of a row without personal data, and how often it was there, by kind."""
        redactor = personal_data.Redactor(self.list_redacted())
        kept = {name: value if name == "id" else redactor.redact(value) for name, value in columns.items()}
        return kept, redactor.counts
