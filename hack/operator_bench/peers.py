"""What other operators of the field were measured to take, on the same kind of machine: printed beside our rows. Pure.

Their Deployments or pods on a real API server with kwok; quiet runs where there were both. Not measured again here.
"""

PEERS = {
    "200 models: until the last child exists": "LWS 18 s, KServe 30 s, KubeAI 302 s (100 models)",
    "200 models: until the last one serves": "LWS 22 s, KServe 41 s, KubeAI 307 s (100 models)",
    "1,000 models: until the last child exists": "LWS 213 s; KubeAI without its sleep, pods alone, 68 s",
    "1,000 models: until the last one serves": "LWS 213 s; KubeAI without its sleep, pods alone, 89 s",
    "200 models: CPU of one": "KubeAI 20 ms, LWS 33 ms, KServe 80 ms",
    "1,000 models: CPU of one": "KubeAI 29 ms, LWS 54 ms",
    "200 models: writes for one": "all requests: KubeAI 9, LWS 11 to 12, KServe 32",
    "1,000 models: writes for one": "all requests: KubeAI 8 to 9, LWS 11 to 12",
    "200 models: reads for one": "KServe 20",
    "200 models: once they serve": "LWS 77 MiB, KubeAI 90 MiB, KServe 104 MiB",
    "1,000 models: once they serve": "LWS 133 MiB, KubeAI 148 MiB",
    "200 models: started and caught up": "LWS 21 s, KServe 22 s, KubeAI 22 s (100 models)",
    "200 models: started again: writes and Events": "one for each model: LWS 201, KServe 202, KubeAI 200 (100 models)",
}
# Theirs were taken with up to 200 objects.
OF_ANY_SIZE = {
    "child deleted: back, p99": "0.02 to 0.07 s",
    "field changed: restored, p99": "0.02 to 0.6 s",
    "owned fields not restored": "some in each: KubeAI the image, LWS the Service's selector, KServe a label",
    "pods turn unready: told, p99": "0.05 to 0.27 s with nothing else going on",
    "as many arrive, pods turn unready: told, p99": "KServe 20 to 43 s at the median: the new ones come first",
    "leader killed: the other acts": "KubeAI 19.5 s, KServe 21.9 s, LWS 22.6 s",
    "leader told to end: the other acts": "16 to 17 s: none releases its lease",
    "60 s, left alone: writes and Events": "in 2 min: LWS, KServe 0, KubeAI 12",
    "600 s, left alone: writes and Events": "in 2 min: LWS, KServe 0, KubeAI 12",
}


def beside(name: str) -> str:
    """What stands beside the row of that name; nothing for most."""
    return PEERS.get(name) or OF_ANY_SIZE.get(name.partition(": ")[2], "")
