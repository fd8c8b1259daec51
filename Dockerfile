# The wake processes. Checked statically; not yet run against an engine.
FROM python:3.13-slim-trixie

# The user of Debezium's Connect image, with which the secrets file is shared.
RUN groupadd --system --gid 1001 wake && useradd --system --uid 1001 --gid wake --no-create-home wake

WORKDIR /opt/wakestream
COPY . .
# In place: migrations and examples are found beside the packages.
RUN pip install --no-cache-dir --editable .

USER wake
WORKDIR /etc/wake
ENTRYPOINT ["wake"]
CMD ["--help"]
