# One image of one service. ./scripts/image puts the root file system together (the program, the few libraries of the C
# library that it loads, certificates, its bill of materials) and builds this; there is no base image, so that no registry
# is needed and nothing is inside that the program does not use.
FROM scratch
ARG SERVICE
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="cqm-${SERVICE}" \
      org.opencontainers.image.description="CQM: customer quality management, ${SERVICE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY root/ /
# By number: `runAsNonRoot` cannot tell what a name stands for.
USER 65532:65532
EXPOSE 50051 9464
# The service is in the image, not in the command: the chart says `serve`, `migrate` or `coordinate`.
ENTRYPOINT ["/cqm"]
CMD ["serve"]
