"""Scripts of this repository: sample data, a local Airflow, the demo."""
