"""Who looks: the Airflow plugin."""
