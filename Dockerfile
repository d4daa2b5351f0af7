# Two images of this checkout. `airflow` runs everything but trainings, and has no TensorFlow: scoring runs the exported
# network in LiteRT. `train` has it too, for the workers of the queue `train`.
FROM python:3.11-slim-bookworm AS packages
RUN apt-get update \
	&& apt-get install --yes --no-install-recommends curl \
	&& rm -rf /var/lib/apt/lists/*
# Nothing runs as root. What volumes are mounted on belongs to the user, so new volumes do too.
RUN useradd --uid 50000 --gid 0 --create-home airflow \
	&& install --directory --owner airflow --group root /opt/airflow /opt/airflow/auth /opt/airflow/logs /project /project/landing /project/out
WORKDIR /project
# Packages first: a change of the code alone installs none of them anew.
ARG EXTRAS="celery postgres s3"
COPY constraints.txt pyproject.toml tools/requirements.py /build/
RUN python /build/requirements.py --without-training $EXTRAS > /build/light.txt \
	&& pip install --no-cache-dir --constraint /build/constraints.txt --requirement /build/light.txt

FROM packages AS packages-train
RUN python /build/requirements.py > /build/all.txt \
	&& pip install --no-cache-dir --constraint /build/constraints.txt --requirement /build/all.txt

FROM packages AS wheel
COPY pyproject.toml README.md LICENSE /checkout/
COPY ae_plugin /checkout/ae_plugin
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel /checkout

FROM packages-train AS train
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-cache-dir --no-deps /wheel/*.whl
USER airflow

FROM packages AS airflow
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-cache-dir --no-deps /wheel/*.whl
USER airflow
