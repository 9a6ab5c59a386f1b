"""A pytest plugin for tests of DAGs that make calls: the fixture ``telzino``, and no call from any test."""

from __future__ import annotations
