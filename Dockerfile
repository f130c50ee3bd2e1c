# Every Airflow container of docker-compose.yml and of deploy/kubernetes: Airflow, this package and CPU TensorFlow, as locked.
# What it stands on: Debian with Python 3.11 to 3.13.  PYTHON_IMAGE in .env names another, and pins it by its digest.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip stands beside the environment, not in it
RUN python -m venv /opt/pip && python -m venv --without-pip /opt/venv
WORKDIR /src
# The lock is complete, so nothing is resolved; wheels only, so no compiler is needed.  A layer of its own: a change of
# this package's code leaves its 2.4 GB alone.  The secret is optional: a pip.conf that names your own package index.
COPY requirements-image.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/pip/bin/pip --python /opt/venv/bin/python install --require-hashes --no-deps --only-binary :all: -r requirements-image.lock

FROM environment AS package
COPY pyproject.toml README.md LICENSE ./
COPY aesthetics_ops ./aesthetics_ops
COPY deploy/list_packages.py ./
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --no-deps --no-build-isolation --prefix /opt/package . \
 && cp --archive /opt/package/. /opt/venv/ \
 && /opt/pip/bin/pip --python /opt/venv/bin/python check \
 && /opt/venv/bin/python list_packages.py > /opt/sbom.json

FROM ${PYTHON}
# process 1 that hands signals on and buries orphans; what the setting progressive = baseline needs
RUN apt-get update && apt-get install --yes --no-install-recommends libturbojpeg0 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
# the ids and the home of Airflow's own image, which its Helm chart counts on
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --create-home airflow \
 && install --directory --owner=50000 --group=0 --mode=0775 /opt/airflow/logs /opt/airflow/config
COPY --from=environment /opt/venv /opt/venv
COPY --from=package /opt/package /opt/venv
COPY --from=package /opt/sbom.json /opt/aesthetics/sbom.json
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
LABEL org.opencontainers.image.title="aesthetics-ops-airflow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.aesthetics-ops.sbom="/opt/aesthetics/sbom.json"
USER 50000:0
WORKDIR /opt/airflow
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "version"]
