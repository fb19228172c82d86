"""How gunicorn serves the application: `gunicorn -c backend/gunicorn.conf.py`, from any folder."""

import os
import resource
import signal
import sys
from pathlib import Path

# An image of its memory, left by a crash, would hold the login and rows
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

chdir = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, chdir)

from backend import iam, settings  # noqa: E402

try:
    read = settings.load(complete=True)
    if read.iam:  # said here, and not by the first request
        iam.signer(read.connection_url, read.iam)
    if read.read_url and read.read_iam:
        iam.signer(read.read_url, read.read_iam, replica=True)
except settings.Misconfigured as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(2)

wsgi_app = "backend.app:create_app()"
bind = f"[{read.host}]:{read.port}" if ":" in read.host else f"{read.host}:{read.port}"
# A request waits for the database and for little else: threads of one process share its pool, and no thread waits
# for a client. WEB_CONCURRENCY is gunicorn's own variable for more processes, each with a pool.
worker_class = "backend.worker.Buffered"
threads = read.pool_size
# Only requests under way are waited for: a stop must not take longer than Docker's ten seconds
graceful_timeout = 8
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(M)s ms'
loglevel = "warning"
control_socket_disable = True


def post_worker_init(_: object) -> None:
    """Leave a terminal's Ctrl-C, which reaches every process, to the parent: it tells the worker, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if os.access("/dev/shm", os.W_OK):  # noqa: S108 (gunicorn's heartbeat file: never on a slow disk)
    worker_tmp_dir = "/dev/shm"  # noqa: S108
