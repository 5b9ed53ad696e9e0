# The static program in an empty image: no shell, no package manager, nothing else to keep up to date.
#
#   docker build -t vestibule --build-arg BUILD_COMMIT="$(git rev-parse --short=12 HEAD)" .
#   docker run -v ./vestibule.yaml:/etc/vestibule/vestibule.yaml:ro -v ./secrets:/run/secrets:ro vestibule
#
# The files must be readable by user 65532. `docker run vestibule check --connect` runs any other command.

FROM docker.io/library/rust:1.95-bookworm AS build
# The C compiler for musl, which aws-lc and jemalloc need; any version of the distribution's will do.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake musl-tools \
 && rm -rf /var/lib/apt/lists/* \
 && rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl
WORKDIR /source
COPY . .
ARG BUILD_COMMIT=unknown
# The target is the image's own processor. ARM kernels have pages of up to 64 KiB: jemalloc runs on those up to the size that it
# was built for.
RUN target="$(uname -m)-unknown-linux-musl" \
 && if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi \
 && cargo build --locked --profile dist --target "$target" \
 && cp "target/$target/dist/vestibule" /vestibule

# Public certificate authorities are in the program; a private one is `database.ca_file`.
FROM scratch
COPY --from=build /vestibule /usr/local/bin/vestibule
ENV VESTIBULE_CONFIG=/etc/vestibule/vestibule.yaml
USER 65532:65532
EXPOSE 4180 4181
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["/usr/local/bin/vestibule", "healthcheck", "--live"]
ENTRYPOINT ["/usr/local/bin/vestibule"]
CMD ["serve"]
