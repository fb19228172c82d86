"""The namespaces of `inv`: wiring only, the work is in ops/."""

import atexit
import gc
import sys

# What a task imports is no garbage: to look for some among it at each few hundred
# objects, and once more at the end, is a sixth of a short task's time
gc.set_threshold(10_000)
atexit.register(gc.freeze)

# invoke turns this off for its run; our modules need not be compiled anew each time
sys.dont_write_bytecode = False

from ops.cli import (  # noqa: E402
    answer_help,
    answer_nothing,
    explain_the_rest,
    know_the_named,
    leave_out,
    read_by_libyaml,
    wired,
)

explain_the_rest()
answer_help()
answer_nothing()
leave_out()
know_the_named()
read_by_libyaml()

from invoke.collection import Collection  # noqa: E402

from config.defaults import DEFAULTS  # noqa: E402
from ops.agent import commands as agent  # noqa: E402
from ops.app import commands as app  # noqa: E402
from ops.db import commands as db  # noqa: E402
from ops.db.access import commands as access  # noqa: E402
from ops.db.branches import commands as branches  # noqa: E402
from ops.db.copies import commands as copies  # noqa: E402
from ops.db.diagnose import commands as diagnose  # noqa: E402
from ops.db.diagram import commands as diagram  # noqa: E402
from ops.db.migrations import commands as migrations  # noqa: E402
from ops.db.roles import commands as roles  # noqa: E402
from ops.env import commands as env  # noqa: E402
from ops.lambdas import commands as lambdas  # noqa: E402
from ops.look import commands as looking  # noqa: E402
from ops.rds import commands as rds  # noqa: E402
from ops.rds.alarms import commands as alarms  # noqa: E402
from ops.rds.apply import commands as changing  # noqa: E402
from ops.rds.export import commands as leaving  # noqa: E402
from ops.rds.logs import commands as logging  # noqa: E402
from ops.rds.proxy import commands as proxying  # noqa: E402
from ops.rds.replica import commands as reading  # noqa: E402
from ops.rds.restore import commands as restoring  # noqa: E402
from ops.rds.schedule import commands as schedule  # noqa: E402
from ops.rds.upgrade import commands as upgrade  # noqa: E402
from ops.sandbox import commands as sandbox  # noqa: E402
from ops.targets.tunnel import commands as tunnel  # noqa: E402
from ops.workspace import commands as workspace  # noqa: E402

ns = Collection.from_module(workspace)
for each in Collection.from_module(looking).tasks.values():
    ns.add_task(each)
ns.configure(DEFAULTS)  # INVOKE_* works for a key that an invoke.yaml leaves out, too
for each in Collection.from_module(agent).tasks.values():
    ns.add_task(each)
ns.add_collection(Collection.from_module(app, name="app"))
databases = Collection.from_module(db, name="db")
for room in (migrations, copies, branches, roles, access, diagnose, diagram, tunnel):
    for each in Collection.from_module(room).tasks.values():
        databases.add_task(each)
ns.add_collection(databases)
ns.add_collection(Collection.from_module(env, name="env"))
ns.add_collection(Collection.from_module(lambdas, name="lambda"))
instances = Collection.from_module(rds, name="rds")
for room in (changing, restoring, reading, proxying, upgrade, schedule, alarms, logging, leaving):
    for each in Collection.from_module(room).tasks.values():
        instances.add_task(each)
ns.add_collection(instances)
ns.add_collection(Collection.from_module(sandbox, name="sandbox"))
wired()
