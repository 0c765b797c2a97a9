"""Bodies with fixed keys, checked by pydantic; each wrong field is named."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lossboard_server.errors import FieldError, InvalidInput

STRICT = ConfigDict(extra="forbid", strict=True)

Form = TypeVar("Form", bound=BaseModel)


def read_form(form: type[Form], body: dict[str, Any]) -> Form:
    """Return the body as the form says it must be.

    Raises: InvalidInput naming each wrong field.
    """
    try:
        return form.model_validate(body)
    except ValidationError as error:
        errors = [
            FieldError(".".join(str(part) for part in item["loc"]), _tell(form, item["msg"], item["type"]))
            for item in error.errors()
        ]
        raise InvalidInput(f"{errors[0].field}: {errors[0].message}. Nothing was stored.", errors) from None


def _tell(form: type[BaseModel], message: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return f"is not known here; known: {', '.join(sorted(form.model_fields))}"
    # What our own checks say comes with the kind of their error before it.
    return message.removeprefix("Value error, ")[:1].lower() + message.removeprefix("Value error, ")[1:]
