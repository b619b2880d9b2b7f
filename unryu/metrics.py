"""What Prometheus is told of every API: how many requests, how long they took."""

from prometheus_client import Counter, Histogram

requests = Counter("unryu_requests_total", "Requests answered", ("service", "method", "endpoint", "status"))
latency = Histogram("unryu_request_seconds", "Time to the answer, seconds", ("service", "method", "endpoint"),
                    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5))
