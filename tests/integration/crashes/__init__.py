"""What ``test_crashes.py`` needs: an Airflow with waits in flight, crashes of its parts, and the verdict."""
