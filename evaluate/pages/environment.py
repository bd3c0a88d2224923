"""The Jinja environment of the report and comparison pages."""

import jinja2

from evaluate.pages.case_text import file_name


def make_environment() -> jinja2.Environment:
    """Return an environment for `pages/templates` that escapes every value and refuses unknown names."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluate.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["file_name"] = file_name
    return environment
