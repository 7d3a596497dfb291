"""Where an explanation lives in Redis, and the Lua scripts that alone may change it.

The record of an explanation is the truth about it, and Celery's messages are only tickets. Every
transition is one script: atomic, on Redis' own clock, and fenced by the attempt number, so that a
worker that was given up for dead cannot write. Server and worker run the same scripts, each with
its own Redis client; this package needs none.

An explanation is divided into units of work: ``explain`` (predictions, and handing out the rest)
and one per method, called by its index in the request. Every unit has a state and an attempt.

Keys, all under ``expound:``

==========================  ======  ==========================================================
``explanation:ID``          hash    the record, its fields below
``explanation:ID:input:N``  string   serialised ``Input`` number N of the request
``explanation:ID:result:N`` string serialised ``MethodResult`` with the attributions of method N
``explanation:ID:checkpoint:N`` string what a later attempt at method N needs to go on
``explanation:ID:events``   stream   the events; an entry's id is ``SEQUENCE-0``
``explanation:ID:followers`` set     ids of those that wait for its answer to the same question
``answer:TENANT:DIGEST``    string   ``ID N`` of the method that has answered a question last
``question:TENANT:DIGEST``  string   ``ID`` of the newest that works on all of these questions
``request:TENANT:REQUEST_ID`` string ``ID HASH`` of the request that used this id first
``index:TENANT``            zset     ids of a tenant's explanations, by time of creation
``open:TENANT``             zset     those of them that have not ended, by the time at which they
                                     are to end
``images:TENANT``           string   time (µs) at which the images asked for are paid for, at the
                                     tenant's limit of images a minute; absent when it has passed
``stored:TENANT``           hash     bytes of inputs and results by explanation, of all under "",
                                     of a tenant with a limit
``stored:TENANT:until``     zset     those explanations by the time at which they are forgotten
``deadlines``               zset     ids by the time at which their work ends, or they expire
``ready:POOL``              zset     ids that no worker has taken, by turn
``ready:POOL:GROUP``        zset     those of them that can run as one batch
``wake:POOL``               list     an entry while there are any, for workers to wait for
``jobs:POOL``               zset     ``ID UNIT`` of methods that no worker has taken, by turn
``turn:QUEUE``              string   turn of what was last taken from one of these two
``turn:QUEUE:TENANT``       string   turn that the tenant's next has in it, unless it has passed
``leases``                  zset     ``ID UNIT`` of open units by the time until which they are
                                     somebody's, a worker's or a ticket's
``worker:WORKER``           string   serialised ``WorkerCard`` of a live worker
``workers``                 zset     workers by the time until which they count as alive
``capabilities:PROBED``     string   serialised ``Model`` with what the methods can do on a model,
                                     and no more
``batch_sizes:SETTING``     string   ``BATCH_SIZE CHUNK_SIZE LARGE`` of a model, as a worker has
                                     measured them within a day
``doorbell``                channel ``ID`` of what has ended, or is deleted
``doorbell:progress``       channel ``ID`` of what anything else happened to
``answers:SERVER``          channel MessagePack of ``{ID, {HASH, RESULTS}}`` of what has ended,
                                     where it is small and a caller waits for it at that server
==========================  ======  ==========================================================

Fields of a record: ``tenant``, ``pool``, ``model``, ``group``, ``request`` (serialised, resolved,
without inputs), ``state``, ``error``, ``sequence``, ``methods`` and ``inputs`` (how many), ``open``
(methods not ended), ``create_time``, ``end_time``, ``deadline``, ``expire_time`` (microseconds),
``predictions`` (serialised ``PredictionsReady``), ``provenance`` (serialised), ``weights`` (asked
of), ``made_with`` (the weights that predicted), ``reused`` (1 where others gave all of its
answer), ``question`` (of all its methods, where ``question:TENANT:DIGEST`` was made to name it),
``reuse_since`` (how new an answer to one of its questions has to be, where it may have any),
``metered`` (1 where its bytes count), ``waiting`` (the server where a caller waits for the answer,
if one does), and per unit U:
``U:question`` (the digest of what method U asks), ``U:reused`` (1 where another one's answered),
``U:state``, ``U:attempt``, ``U:worker``, ``U:losses`` (how often its worker was lost
since its last checkpoint), ``U:lost_in_all`` (how often since its beginning), ``U:turn``,
``U:start_time``, ``U:end_time``, ``U:error`` (serialised ``Status``), ``U:progress``
(serialised ``MethodProgressed`` without partial maps), ``U:summary`` (serialised ``MethodResult``
without tensors: all that is told where nobody asks for maps).

Fields of an event: ``time`` (microseconds) and ``kind``: ``state`` (with ``state``, ``error``),
``predictions`` (with ``payload``), ``method`` (with ``unit``, ``state``, ``error``, ``attempt``),
``progress`` (with ``payload``).
"""

from importlib.resources import files

PREFIX = "expound:"
DOORBELL = f"{PREFIX}doorbell"
DOORBELL_PROGRESS = f"{DOORBELL}:progress"
ANSWERS = f"{PREFIX}answers:"
EXPLAIN_UNIT = "explain"

# A Redis that is full refuses a script's writes that take memory, unless it has written before.
# So `create` begins with one that takes memory, of nothing, and the others with one that does not:
# new work is refused before anything of it is stored, and what was accepted can be ended.
_REFUSED_WHEN_FULL = "redis.call('SETRANGE', KEYS[1] .. 'nothing', 0, '')\n"
_RUN_WHEN_FULL = "redis.call('DEL', KEYS[1] .. 'nothing')\n"
_READING = {"workers"}

# The functions that the scripts share; each part uses those before it.
_SHARED = ("keys", "events", "storage", "leases", "queues", "units", "reuse", "endings")


def record_key(explanation_id: str) -> str:
    """Key of an explanation's record."""
    return f"{PREFIX}explanation:{explanation_id}"


def index_key(tenant: str) -> str:
    """Key of the ids of a tenant's explanations."""
    return f"{PREFIX}index:{tenant}"


def lasting_queue(pool: str) -> str:
    """The queue of a pool's explanations whose gradient work lasts.

    That of the others has the name of the pool.
    """
    return f"{pool}:lasting"


def wake_key(queue: str) -> str:
    """Key of what workers wait for until explanations of a queue are ready."""
    return f"{PREFIX}wake:{queue}"


def jobs_key(pool: str) -> str:
    """Key of the methods that wait for a worker of a pool."""
    return f"{PREFIX}jobs:{pool}"


def checkpoint_key(explanation_id: str, unit: str) -> str:
    """Key of what a later attempt at a method needs to go on."""
    return f"{record_key(explanation_id)}:checkpoint:{unit}"


def result_key(explanation_id: str, index: int) -> str:
    """Key of the result of one method of an explanation."""
    return f"{record_key(explanation_id)}:result:{index}"


def events_key(explanation_id: str) -> str:
    """Key of an explanation's stream of events."""
    return f"{record_key(explanation_id)}:events"


def capabilities_key(probed: str) -> str:
    """Key of what the methods can do on a model.

    Args:
        probed: names all that decides it: the model, and the code and libraries that found it.
    """
    return f"{PREFIX}capabilities:{probed}"


def batch_sizes_key(setting: str) -> str:
    """Key of the batch sizes that were measured for a model.

    Args:
        setting: names all that decides them: the model, how it is run, and the machine.
    """
    return f"{PREFIX}batch_sizes:{setting}"


def weights(version: str, digest: str) -> str:
    """Names what a model of one name was made with: another version is another model."""
    return f"{version}\n{digest}"


def script(name: str) -> str:
    """Source of a Lua script, the shared functions before it.

    What it does, its ARGV and its answer are written at its head; KEYS[1] is `PREFIX` for each.
    """
    folder = files(__package__)
    own = (folder / f"{name}.lua").read_text()
    if name not in _READING:
        own = (_REFUSED_WHEN_FULL if name == "create" else _RUN_WHEN_FULL) + own
    shared = "".join((folder / "shared" / f"{part}.lua").read_text() for part in _SHARED)
    return shared + own
