"""The polling that all waits in a triggerer share."""

from __future__ import annotations
