"""The verbs over any Resource: list, show, create (one or many), update, delete, in a service's dialect."""

from unryu.rest.api import Api, Dialect
from unryu.rest.body import text, validate
from unryu.rest.described import Asked, Given, Page, Plain, Several, Whole, described
from unryu.rest.write import create, delete, update
from unryu.scope import owned, seen, visible_rows

__all__ = [
    "Api", "Asked", "Dialect", "Given", "Page", "Plain", "Several", "Whole", "create", "delete", "described", "owned", "seen",
    "text", "update", "validate", "visible_rows",
]
