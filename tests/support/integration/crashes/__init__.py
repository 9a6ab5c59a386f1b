"""For ``test_crashes.py``: an Airflow with waits in flight, crashes of its components, and the verdict."""
