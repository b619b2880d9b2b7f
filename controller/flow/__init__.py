"""Flows as values: a flow is its OpenFlow bytes. Pure: no I/O, no OpenFlow library."""

# The files are the catalogue of words; to name each word here again would be a second home.
from controller.flow.fields import *  # noqa: F403
from controller.flow.meters import *  # noqa: F403
from controller.flow.text import text as text
from controller.flow.words import *  # noqa: F403
