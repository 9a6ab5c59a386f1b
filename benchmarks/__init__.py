"""What a wait costs, ours beside the others: ``make bench`` and ``make bench-airflow``."""
