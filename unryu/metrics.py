"""What Prometheus is told of every service: its requests, how long they took, what it had to do without."""

from prometheus_client import Counter, Gauge, Histogram

requests = Counter("unryu_requests_total", "Requests answered", ("service", "method", "endpoint", "status"))
latency = Histogram("unryu_request_seconds", "Time to the answer, seconds", ("service", "method", "endpoint"),
                    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5))
silences = Counter("unryu_database_silences_total", "Times that the database could not be read or written", ("what",))
lines_lost = Counter("unryu_log_lines_lost_total", "Log lines that could not be written: is the disk full?")
refused = Gauge("unryu_refused_connections", "Refused for a certificate, or for lack of one", ("door",))
