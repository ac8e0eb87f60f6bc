# syntax=docker/dockerfile:1
# Two images: `api` (no PyTorch; also runs the MLflow server and the migrations) and `worker`.
#
#   docker build --target api .
#   docker build --target worker .                              PyTorch built for CUDA
#   docker build --target worker --build-arg TORCH_INDEX=URL .  another build of PyTorch

ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
RUN pip install --no-cache-dir build
COPY . .
RUN python -m build --wheel --outdir /wheel

# Third-party libraries come before our own code, so that a change of code reuses their layer.
FROM python:${PYTHON}-slim AS libraries
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
    [open(f"{extra}.txt", "w").write("\n".join(project["dependencies"] + project["optional-dependencies"][extra])) \
     for extra in ("api", "pipelines")]' \
    && python -m venv /opt/pellucid
ENV PATH=/opt/pellucid/bin:$PATH

FROM libraries AS api-libraries
# "onnxruntime-gpu[cuda,cudnn]" brings the CUDA libraries for serving on a GPU
ARG ONNXRUNTIME=
RUN pip install -c constraints.txt -r api.txt ${ONNXRUNTIME}
COPY --from=wheel /wheel /wheel
RUN pip install --no-deps /wheel/*.whl

FROM libraries AS worker-libraries
# The index of another build, such as the small one without CUDA: see PyTorch's install page
ARG TORCH_INDEX=
# Other versions than the tested ones: a file in the build context, or /dev/null for none
ARG CONSTRAINTS=constraints.txt
RUN pip install -c ${CONSTRAINTS} -r pipelines.txt ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}}
COPY --from=wheel /wheel /wheel
RUN pip install --no-deps /wheel/*.whl

FROM python:${PYTHON}-slim AS runtime
RUN useradd --uid 10001 --no-create-home pellucid \
    && mkdir /data /mlflow && chown pellucid:pellucid /data /mlflow
# Libraries keep caches below HOME: /tmp can be written where the root file system cannot.
ENV PATH=/opt/pellucid/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PELLUCID_HOME=/data \
    PELLUCID_LOG_FORMAT=json \
    HOME=/tmp \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
USER pellucid
VOLUME /data

FROM runtime AS api
COPY --from=api-libraries /opt/pellucid /opt/pellucid
EXPOSE 8000 8001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
CMD ["pellucid", "api"]

FROM runtime AS worker
COPY --from=worker-libraries /opt/pellucid /opt/pellucid
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["pellucid", "db", "current"]
CMD ["pellucid", "worker"]
