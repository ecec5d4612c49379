# CPU:  docker build -t wsinuc .
# GPU:  docker build -t wsinuc --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
# Use:  docker run --rm -u $(id -u) -v "$PWD":/data wsinuc segment /data/slide.svs
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt torch --extra-index-url "$TORCH_INDEX" \
    && pip install --no-cache-dir -c constraints.txt . \
    && rm -rf /src

WORKDIR /data
ENTRYPOINT ["wsinuc"]
CMD ["--help"]
