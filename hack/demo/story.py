"""What the demo shows once everything is installed: one object applied, its status as it changes, its answers."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from demo.installation import ROOT
from demo.kube import Kube

EXAMPLE = ROOT / "examples/01-sentiment.yaml"
# Not in the training data; `make bundle` prints how often the small sentiment head is right on such sentences.
SENTENCES = (
    "We laughed all evening and the food was superb.",
    "The update made everything slower and lost my files.",
    "The soup arrived cold and the waiter shrugged.",
)
BURST_REQUESTS, BURST_CONCURRENCY = 400, 16
SHOWN_METRICS = ("neuroncore_utilization_ratio", "execution_status_total", "neuron_model_requests_total")


def tell(kube: Kube) -> None:
    started = time.monotonic()
    print(f"\n$ kubectl apply -f {EXAMPLE.relative_to(ROOT)}\n{EXAMPLE.read_text()}")
    print(kube.apply(EXAMPLE.read_text()), end="")
    _show_status_until_ready(kube)
    with kube.forward("svc/sentiment", 80) as url:
        _ask(url, SENTENCES[0])
        print(f"    first answer {time.monotonic() - started:.1f} s after kubectl apply")
        for sentence in SENTENCES[1:]:
            _ask(url, sentence)
        _burst(url)
        _show_metrics(url)
    print("\n$ kubectl get neuronmodels")
    print(kube.kubectl("get", "neuronmodels"), end="")
    _say_what_next(kube)


def _show_status_until_ready(kube: Kube) -> None:
    print("\n$ kubectl get neuronmodel sentiment --watch", flush=True)
    watch = subprocess.Popen(["kubectl", "get", "neuronmodel", "sentiment", "--watch"], env=kube.environment())
    try:
        kube.wait("neuronmodel/sentiment", "condition=Ready", timeout_s=300)
    finally:
        watch.terminate()
        watch.wait()


def _ask(url: str, sentence: str) -> None:
    command = ["curl", "-sS", "--fail-with-body", f"{url}/predict", "-H", "Content-Type: application/json"]
    body = json.dumps({"text": sentence})
    print(f"\n$ curl {url}/predict -H 'Content-Type: application/json' -d '{body}'")
    print(subprocess.run([*command, "-d", body], check=True, capture_output=True, text=True).stdout.strip())


def _burst(url: str) -> None:
    """A bounded burst, so that there is something to see in the metrics."""
    with httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor(BURST_CONCURRENCY) as threads:
        started = time.monotonic()
        codes = list(
            threads.map(
                lambda number: client.post("/predict", json={"text": SENTENCES[number % 3]}).status_code,
                range(BURST_REQUESTS),
            )
        )
        took = time.monotonic() - started
    answered = sum(code == httpx.codes.OK for code in codes)
    print(
        f"\n{answered} of {BURST_REQUESTS} requests answered in {took:.1f} s ({BURST_CONCURRENCY} at a time, one pod)"
    )


def _show_metrics(url: str) -> None:
    print(f"\n$ curl {url}/metrics | grep -E '^({'|'.join(SHOWN_METRICS)})' | grep -v ' 0.0$'")
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    shown = [line for line in lines if line.startswith(SHOWN_METRICS) and not line.endswith(" 0.0")]
    print("\n".join(shown))


def _say_what_next(kube: Kube) -> None:
    exported = f"export KUBECONFIG={kube.kubeconfig} PATH={kube.binaries}:$PATH" if kube.kubeconfig else ""
    exported = exported.replace(str(Path.home()), "~")
    print(
        f"""
The cluster keeps running. To go on by hand:
  {exported}
  kubectl explain neuronmodel.spec
  kubectl scale neuronmodel sentiment --replicas=3
  kubectl apply -f examples/02-sidecar.yaml       # your own web application beside the runtime
  kubectl delete pod -l neuron-serving.dev/model=sentiment --wait=false && kubectl get neuronmodel -w
  make demo-down                                  # remove it all"""
    )
