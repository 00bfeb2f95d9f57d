# kube-proxy from Go modules, with the iptables that it drives.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends conntrack iptables kmod \
    && rm -rf /var/lib/apt/lists/*
COPY kube-proxy /usr/local/bin/
