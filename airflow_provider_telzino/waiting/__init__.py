"""What tasks that wait for a call share.

``arguments`` has the classes that sensor and operators derive from, with the parameters of a wait;
``deferral`` waits, defers, resumes and ends the task; ``without_workers`` lets it begin and end in the
triggerer.
"""

from __future__ import annotations
