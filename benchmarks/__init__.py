"""What a wait costs, compared with other ways to wait: ``make bench`` and ``make bench-airflow``."""
