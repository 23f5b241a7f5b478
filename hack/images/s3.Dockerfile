# The demo's S3 server: versitygw, built from its Go module with the cluster's binaries, which are the build context.
FROM scratch
COPY versitygw /versitygw
USER 65532:65532
EXPOSE 7070
ENTRYPOINT ["/versitygw"]
