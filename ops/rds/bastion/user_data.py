"""What the bastion does by itself: it stops when no session was open for an hour."""

from __future__ import annotations

IDLE_SECONDS = 3600
PERIOD = "5min"

# The agent has a process ssm-session-worker for each open session
# (https://docs.aws.amazon.com/systems-manager/latest/userguide/ssm-agent-technical-details.html). /run is empty after a start,
# so each start begins a new hour
LOOK = f"""#!/bin/sh
set -u
last=${{LAST_SESSION:-/run/last-session}}
[ -e "$last" ] || touch "$last"
if pgrep -f ssm-session-worker >/dev/null; then touch "$last"; fi
if [ $(( $(date +%s) - $(stat -c %Y "$last") )) -ge {IDLE_SECONDS} ]; then systemctl poweroff; fi
"""
SERVICE = """[Unit]
Description=Stop when no session was open for an hour

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/stop-when-idle
"""
TIMER = f"""[Unit]
Description=Look every {PERIOD} whether a session is open

[Timer]
OnBootSec={PERIOD}
OnUnitActiveSec={PERIOD}

[Install]
WantedBy=timers.target
"""


def script() -> str:
    """Return the user data, which cloud-init runs at the first start."""
    files = {
        "/usr/local/sbin/stop-when-idle": LOOK,
        "/etc/systemd/system/stop-when-idle.service": SERVICE,
        "/etc/systemd/system/stop-when-idle.timer": TIMER,
    }
    parts = [f"cat > {path} <<'END_OF_FILE'\n{text}END_OF_FILE\n" for path, text in files.items()]
    return "".join(
        [
            "#!/bin/sh\nset -eu\n",
            *parts,
            "chmod 755 /usr/local/sbin/stop-when-idle\nsystemctl daemon-reload\nsystemctl enable --now stop-when-idle.timer\n",
        ]
    )
