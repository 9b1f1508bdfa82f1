"""Rules of steps that an agent's command carries out, and of what agents approve and retry."""

from tools.mutants.mutant import rule

_FILES = "tests/parse/test_agent_steps.py"
_TEXT = "tests/core/test_task.py"
_ENGINE = "tests/engine/test_agent_steps.py"
_EXECUTOR = "tests/executors/test_agent_steps.py"
_PROCESSES = "tests/e2e/test_agent_steps.py"
_OWN_WORK = "tests/core/test_agents_own_work.py"
_BROUGHT_ABOUT = "tests/engine/test_brought_about.py"
_ASKED = "tests/agents/test_asked.py"

MUTANTS = (
    # parse
    rule(
        "an agent has no script", "parse/agents.py:check_agent", "if script is not None:", "if False:", found_by=_FILES
    ),
    rule("an agent has a text", "parse/agents.py:check_agent", "if not body.strip():", "if False:", found_by=_FILES),
    rule(
        "an agent's text is bounded",
        "parse/agents.py:check_agent",
        "elif len(body) > MOST_INSTRUCTIONS:",
        "elif False:",
        found_by=_FILES,
    ),
    rule(
        "who is named carries the step out, or it is an error",
        "parse/agents.py:check_agent",
        "        if named:",
        "        if False:",
        found_by=_FILES,
    ),
    rule(
        "to name an agent is to name the executor",
        "parse/merge.py:_executor",
        " or implied_executor(pair)",
        "",
        found_by=_FILES,
    ),
    rule(
        "an agent is tried again",
        "parse/flow.py:_check_retry",
        " and agent_of(step) is None",
        "",
        found_by=_FILES,
    ),
    rule(
        "an agent is interrupted as a script is",
        "parse/flow.py:_check_interruption",
        " and agent_of(step) is None",
        "",
        found_by=_FILES,
    ),
    # core
    rule(
        "the workspace has the word about an agent's variables",
        "core/agents.py:equipped",
        "step.env.set_ | agent.env.set_",
        "agent.env.set_ | step.env.set_",
        found_by=_TEXT,
    ),
    rule(
        "data stands in frames",
        "core/task.py:_framed",
        "frames.value(value, source, most=MOST_OF_ONE)",
        "str(value)",
        found_by=_TEXT,
    ),
    rule("one value is cut", "core/task.py:_framed", ", most=MOST_OF_ONE", ", most=10**9", found_by=_TEXT),
    rule("all values are cut", "core/task.py:task_text", ", room=MOST_OF_ALL", ", room=10**9", found_by=_TEXT),
    rule(
        "a step's hidden characters are shown",
        "core/task.py:task_text",
        "prose(definition.body)",
        "definition.body",
        found_by=_TEXT,
    ),
    rule(
        "the envelope has the command",
        "core/envelope.py:step_envelope",
        "msgspec.UNSET if agent is None else",
        "msgspec.UNSET if True else",
        found_by=_ENGINE,
    ),
    rule(
        "the start approval has the commands",
        "core/envelope.py:start_envelope",
        "agents=run.agents or msgspec.UNSET,",
        "",
        found_by=_ENGINE,
    ),
    rule(
        "the record says which command ran",
        "core/moves_driver.py:start",
        "            command=command.command,\n",
        "",
        found_by=_ENGINE,
    ),
    rule(
        "a rollback is no agent's",
        "core/evolve_rollback.py:rollback_begun",
        "        command=(),\n",
        "",
        found_by=_ENGINE,
    ),
    # engine
    rule(
        "no run is made for an agent that nobody configured",
        "engine/creation.py:make_run",
        "        check_agents(each, config)\n",
        "",
        found_by=_ENGINE,
    ),
    rule(
        "a dry run refuses what a run would",
        "engine/planning.py:plan_document",
        "    check_agents(procedure, config)\n",
        "",
        found_by=_PROCESSES,
    ),
    rule(
        "validation tells of an agent that nobody configured",
        "engine/checks.py:check_procedure",
        "in unknown_agents(procedure, config.agents):",
        "in ():",
        found_by=_ENGINE,
    ),
    rule(
        "validation tells of a program that is not there",
        "engine/checks.py:_program_of_agent",
        "is None:\n        message",
        "is True:\n        message",
        found_by=_ENGINE,
    ),
    rule(
        "an agent that is gone pauses the run",
        "engine/agents.py:agent_now",
        "    if name not in agents:",
        "    if False:",
        found_by=_ENGINE,
    ),
    rule(
        "a config that cannot be read pauses the run",
        "engine/agents.py:agent_now",
        "except (InvalidProcedure, WorkspaceError) as error:",
        "except WorkspaceError as error:",
        found_by=_ENGINE,
    ),
    rule(
        "no procedure says where the program is",
        "engine/envelopes.py:_program",
        "sought(agent, run.environment, parts.workspace.root)",
        "sought(agent, variables, parts.workspace.root)",
        found_by=_ENGINE,
    ),
    rule(
        "a step's folder is not where the program is",
        "engine/envelopes.py:_program",
        "sought(agent, run.environment, parts.workspace.root)",
        "sought(agent, run.environment, folder)",
        found_by=_ENGINE,
    ),
    rule(
        "what starts the program finds it as the envelope says",
        "engine/recovery.py:_agent_order",
        "sought(agent, run.environment, parts.workspace.root)",
        "sought(agent, {'PATH': run.procedure.env.set_.get('PATH', '')}, parts.workspace.root)",
        found_by=_ENGINE,
    ),
    rule(
        "a step without a gate notices another command",
        "engine/envelopes.py:changed_since_creation",
        "run.agents.get(name) != agent",
        "False",
        found_by=_ENGINE,
    ),
    rule(
        "what an agent is passed is kept from the start",
        "engine/creation.py:_used",
        "passed_at_creation(procedure, parts, agents)",
        "passed_at_creation(procedure, parts)",
        found_by=_ENGINE,
    ),
    rule(
        "a running agent is watched though its command is gone",
        "engine/recovery.py:_agent",
        "        return UNSET",
        "        raise",
        found_by=_ENGINE,
    ),
    rule(
        "a verification is no agent's",
        "engine/recovery.py:_verification",
        "        agent=None,\n",
        "",
        found_by=_ENGINE,
    ),
    rule(
        "each text has an id of its own",
        "engine/recovery.py:_agent_order",
        "parts.ids.nonce()",
        '"0" * 32',
        found_by=_ENGINE,
    ),
    # executors
    rule(
        "an agent reads its text",
        "executors/keeper.py:become",
        "os.open(order.stdin, os.O_RDONLY)",
        'os.open("/dev/null", os.O_RDONLY)',
        found_by=_PROCESSES,
    ),
    rule(
        "an agent reads its text, without a control group too",
        "executors/keeper.py:spawn",
        "(os.POSIX_SPAWN_OPEN, 0, order.stdin, os.O_RDONLY, 0)",
        '(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)',
        found_by=_EXECUTOR,
    ),
    rule(
        "a program that cannot be executed is told of",
        "executors/agent.py:_program",
        "if not os.path.isfile(path) or not os.access(path, os.X_OK):",
        "if False:",
        found_by=_PROCESSES,
    ),
    rule(
        "the command has its arguments",
        "executors/agent.py:_work",
        "(_program(sought), *sought.command[1:])",
        "(_program(sought),)",
        found_by=_PROCESSES,
    ),
    # rehearsal, doors
    rule(
        "an agent is played whether it is configured or not",
        "rehearsal/stage.py:open_stage",
        "replace(config, agents=_agents(staged))",
        "config",
        found_by="tests/rehearsal/test_play.py",
    ),
    rule(
        "a command reaches an agent in a frame",
        "doors/agent/views.py:_detail",
        'or (key == "command" and isinstance(value, list))',
        "or False",
        found_by="tests/agents/test_untrusted.py",
    ),
    # what agents approve and retry
    rule(
        "no agent approves where it did a step",
        "core/approvers.py:check_approver",
        "if actor.id in run.reporters:",
        "if False:",
        found_by=_OWN_WORK,
    ),
    rule(
        "who did a step is kept along",
        "core/evolve.py:_evolved",
        "run.reporters | {event.actor.id}",
        "run.reporters",
        found_by=_OWN_WORK,
    ),
    rule(
        "a gate that only its worker could pass says so",
        "core/people.py:electorate",
        "able -= {AGENT + worker for worker in workers}",
        "pass",
        found_by=_OWN_WORK,
    ),
    rule(
        "no agent retries what a person rejected",
        "core/moves_person.py:retry",
        "    _check_not_rejected(run, command, again.union(steps))\n",
        "",
        found_by=_OWN_WORK,
    ),
    rule(
        "what an agent rejected an agent may retry",
        "core/moves_person.py:is_rejected_for_good",
        " and not (by is not None and by.kind is ActorKind.AGENT)",
        "",
        found_by=_OWN_WORK,
    ),
    rule(
        "no agent approves around its work",
        "engine/brought_about.py:check_no_work_around",
        "if any(actor.id in each.reporters for each in every):",
        "if False:",
        found_by=_BROUGHT_ABOUT,
    ),
    rule(
        "no agent retries around what a person rejected",
        "engine/brought_about.py:check_not_rejected_within",
        "if any(is_rejected_for_good(state) for state in each.steps.values()):",
        "if False:",
        found_by=_BROUGHT_ABOUT,
    ),
    rule(
        "no agent approves what it cannot be shown",
        "engine/engine.py:_check_agent",
        "check_shown(self.parts, run, step, actor)",
        "pass",
        found_by=_ASKED,
    ),
    rule(
        "what is asked is measured as it is shown",
        "engine/asked.py:check_shown",
        "len(disarmed(text))",
        "len(text)",
        found_by=_ASKED,
    ),
    rule(
        "to approve is offered beside what is asked",
        "doors/agent/moves.py:_at_gates",
        "elif (run.run_id, gate.digest) in shown:",
        "elif True:",
        found_by=_ASKED,
    ),
    rule(
        "the text beside an answer holds no digest of what it does not show",
        "doors/agent/texts.py:_move_line",
        'if move["call"] == "sop_approve":',
        "if False:",
        found_by=_ASKED,
    ),
    rule(
        "of several gates those are shown that fit",
        "doors/agent/views.py:asked_view",
        "room -= size",
        "pass",
        found_by=_ASKED,
    ),
    # who calls, and how
    rule(
        "a process keeps the mark that it was started with",
        "doors/ancestry.py:_line",
        "pid = os.getpid()",
        "pid = os.getppid()",
        found_by="tests/doors/test_ancestry.py",
    ),
    rule(
        "an empty Origin is one",
        "doors/mcp/http.py:application",
        'if _given(scope, b"origin"):',
        "if False:",
        found_by="tests/agents/test_wire_http.py",
    ),
    rule(
        "what is told of progress grows",
        "doors/agent/desk.py:after",
        "self._times / (self._times + 1)",
        "0",
        found_by="tests/agents/test_errors.py",
    ),
)
