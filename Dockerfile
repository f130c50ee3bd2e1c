# Every Airflow container of docker-compose.yml and of deploy/kubernetes: Airflow, this package and CPU TensorFlow, as locked.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /src
# the lock is complete, so nothing is resolved; wheels only, so no compiler is needed
COPY requirements-image.lock ./
RUN /opt/venv/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY aesthetics_ops ./aesthetics_ops
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation . && /opt/venv/bin/pip check

FROM ${PYTHON}
# process 1 that hands signals on and buries orphans; what the setting progressive = baseline needs
RUN apt-get update && apt-get install --yes --no-install-recommends libturbojpeg0 tini && rm -rf /var/lib/apt/lists/*
# the ids and the home of Airflow's own image, which its Helm chart counts on
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --create-home airflow \
 && install --directory --owner=50000 --group=0 --mode=0775 /opt/airflow/logs /opt/airflow/config
COPY --from=build /opt/venv /opt/venv
COPY dags /opt/aesthetics/dags
COPY plugins /opt/aesthetics/plugins
COPY samples /opt/aesthetics/samples
COPY deploy /opt/aesthetics/deploy
COPY deploy/airflow_local_settings.py /opt/airflow/config/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/aesthetics/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/aesthetics/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=false \
    AESTHETICS_CONFIG=/opt/aesthetics/samples/datasets.toml
USER 50000:0
WORKDIR /opt/airflow
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "version"]
