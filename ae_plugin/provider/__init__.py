"""Who schedules: operators, assets and DAGs for Airflow 3."""
