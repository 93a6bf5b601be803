# The sagabus image: built by the same commands as `./dev build release`, run without root, nothing inside
# but the binary, its libraries and the event schemas. tests/packaging holds this file to that.
FROM debian:12-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        build-essential cmake ninja-build pkg-config librdkafka-dev libjansson-dev libpq-dev uuid-dev \
        libcmocka-dev libevent-dev libcurl4-openssl-dev libssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cmake --preset release
RUN cmake --build --preset release
RUN DESTDIR=/out cmake --install build/release --prefix /usr/local --strip

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        ca-certificates librdkafka1 libjansson4 libpq5 libuuid1 libevent-2.1-7 libevent-openssl-2.1-7 \
        libevent-pthreads-2.1-7 libcurl4 libssl3 tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sagabus
COPY --from=build /out/usr/local/ /usr/local/
COPY schemas/ /usr/local/share/sagabus/schemas/
ENV SAGABUS_SCHEMAS_DIR=/usr/local/share/sagabus/schemas
RUN ldconfig
USER 10001
EXPOSE 8088
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["sagabus", "doctor", "--only", "server"]
ENTRYPOINT ["sagabus"]
CMD ["serve"]
