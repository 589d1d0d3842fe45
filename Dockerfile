# The workflow and all that it needs, on Debian: `docker build --tag backtranslation .` (docs/running.md, "In a container").

# Python 3.11, with which the tests run. Any Debian from 12 on will do.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS packages
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/backtranslation/bin:$PATH
RUN python3 -m venv /opt/backtranslation
COPY envs/requirements.lock /opt/backtranslation/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /opt/backtranslation/requirements.lock
# The lock leaves the build of torch open: `cpu`, or `cuda` with NVIDIA's libraries.
ARG VARIANT=cpu
RUN case "$VARIANT" in \
        cpu) pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 ;; \
        cuda) pip install --no-cache-dir torch==2.13.0 ;; \
        *) echo "VARIANT is $VARIANT, and must be cpu or cuda" >&2; exit 1 ;; \
    esac

# In a stage of its own, so that neither the source nor what builds it is in the image.
FROM packages AS project
COPY . /source
RUN pip install --no-cache-dir --no-deps --prefix /project /source

FROM packages
COPY --from=project /project /opt/backtranslation
RUN pip check \
    && useradd --uid 1000 --home-dir /work --no-create-home backtranslation \
    && mkdir --mode 1777 /work
# Where the folder of the run is mounted. What programs keep in their home, the models of the hub above all, stays there.
WORKDIR /work
# Python asks for the name of the user, which a number after `docker run --user` does not have.
ENV HOME=/work USER=backtranslation
USER backtranslation
ENTRYPOINT ["backtranslation"]
CMD ["--help"]

ARG VERSION=0.2.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="backtranslation" \
      org.opencontainers.image.description="Instruction backtranslation as one incremental workflow: from web pages to a self-improved model" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
