"""What tasks that wait for a call share.

``arguments`` has the classes that sensor and operators derive from, with the parameters of a wait;
``deferral`` waits, defers and resumes; ``call_task`` requests the record and ends the task according to it;
``parse_checks`` checks arguments when the DAG is parsed; ``without_workers`` lets a task begin and end in the
triggerer.
"""

from __future__ import annotations
