"""Documents as a user's files hold them: the specification's four, and short ways to parse a text."""

from __future__ import annotations

import json
from typing import Any

from sopwith.errors import Problem, Severity
from sopwith.parse.procedure import Parsed, SourceFile, parse_procedure

RULE = "\n---\n\n"


def fenced(script: str) -> str:
    return f"```bash\n{script}\n```\n\n"


def gate(minutes: int) -> str:
    return f"**Approval Required**: Yes  \n**Approval Timeout**: {minutes} minutes\n"


NO_GATE = "**Approval Required**: No\n"


def head(title: str, priority: str, mode: str) -> str:
    return f"# {title}\n\n**Version**: 1.0.0  \n**Priority**: {priority}  \n**Execution Mode**: {mode}\n\n"


DEPLOY = (
    head("Deploy to Production", "high", "step_by_step")
    + "## Overview\n\nDeploys the application to production after running tests and creating a backup.\n\n## Steps\n\n"
    + RULE.join(
        [
            "### Step 1: Run Tests\n\nExecute the full test suite and verify all tests pass.\n\n"
            + fenced("npm test\nnpm run test:e2e")
            + gate(5),
            "### Step 2: Create Backup\n\nCreate a database backup before deployment.\n\n"
            + fenced("npm run db:backup")
            + gate(10),
            "### Step 3: Deploy\n\nPush changes to production and run migrations.\n\n"
            + fenced("git push origin main\nnpm run migrate")
            + gate(5),
            "### Step 4: Verify Deployment\n\nCheck health endpoints and monitor error rates.\n\n"
            + fenced("curl https://api.example.com/health\nnpm run check:logs -- --since 5m")
            + NO_GATE,
        ]
    )
)

DEPLOY_MANIFEST: dict[str, Any] = {
    "name": "deploy-production",
    "description": "Deploys the application to production with safety checks",
    "version": "1.0.0",
    "priority": "high",
    "executionMode": "step_by_step",
    "cooldownSecs": 3600,
    "maxConcurrent": 1,
    "triggers": [{"type": "manual"}, {"type": "webhook", "path": "/deploy/production"}],
    "steps": [
        {
            "number": 1,
            "title": "Run Tests",
            "requiresApproval": True,
            "approvalTimeoutMins": 5,
            "suggestedTools": ["shell", "file_read"],
        },
        {
            "number": 2,
            "title": "Create Backup",
            "requiresApproval": True,
            "approvalTimeoutMins": 10,
            "suggestedTools": ["shell"],
        },
        {
            "number": 3,
            "title": "Deploy",
            "requiresApproval": True,
            "approvalTimeoutMins": 5,
            "suggestedTools": ["shell", "git_operations"],
        },
        {
            "number": 4,
            "title": "Verify Deployment",
            "requiresApproval": False,
            "suggestedTools": ["shell", "http_request"],
        },
    ],
}

DEPLOY_1 = (
    head("Deploy to Production", "high", "step_by_step")
    + "## Steps\n\n"
    + RULE.join(
        [
            "### Step 1: Pre-deployment Checks\n\nVerify CI/CD pipeline passed.\n\n"
            + fenced(
                '# Check last build status\ncurl -H "Authorization: Bearer $GH_TOKEN" \\\n'
                "  https://api.github.com/repos/org/repo/actions/runs?branch=main | jq '.conclusion'\n\n"
                "# Check recent error rate\ncurl https://api.example.com/metrics/errors?since=1h"
            )
            + gate(10),
            "### Step 2: Create Database Backup\n\n"
            + fenced("npm run db:backup -- --output /backups/prod-$(date +%Y%m%d-%H%M%S).sql")
            + gate(15),
            "### Step 3: Deploy\n\n"
            + fenced("git fetch origin main\n./scripts/deploy.sh --environment production")
            + gate(5),
            "### Step 4: Post-deployment Verification\n\n"
            + fenced("# Health check\ncurl https://api.example.com/health | jq")
            + NO_GATE,
        ]
    )
)

INCIDENT = (
    head("Incident Response", "critical", "supervised")
    + "## Steps\n\n"
    + RULE.join(
        [
            "### Step 1: Triage\n\nIdentify scope.\n\n- Check dashboards\n- Review error logs\n\n" + NO_GATE,
            "### Step 2: Mitigation\n\nApply immediate fix to reduce impact.\n\n" + gate(5),
            "### Step 3: Root Cause Analysis\n\nInvestigate and document root cause.\n\n" + NO_GATE,
            "### Step 4: Long-term Fix\n\nImplement permanent solution.\n\n" + gate(30),
            "### Step 5: Post-Mortem\n\nDocument lessons learned.\n\n" + NO_GATE,
        ]
    )
)

QA = (
    head("QA Testing Pipeline", "normal", "auto")
    + "## Steps\n\n"
    + RULE.join(
        [
            "### Step 1: Unit Tests\n\n" + fenced("npm test -- --coverage"),
            "### Step 2: Integration Tests\n\n" + fenced("npm run test:integration"),
            "### Step 3: E2E Tests\n\n" + fenced("npm run test:e2e -- --headed"),
            "### Step 4: Performance Tests\n\n" + fenced('npm run test:perf -- --thresholds "p95<500"'),
            "### Step 5: Generate Report\n\n" + fenced("node scripts/generate-test-report.js"),
        ]
    )
)


def parse(
    sop_md: str | bytes | None = None, manifest: dict[str, Any] | str | bytes | None = None, *, name: str = "demo"
) -> Parsed:
    return parse_procedure(name, sop_md=_source("SOP.md", sop_md), manifest=_source("manifest.json", manifest))


def step(contents: str) -> str:
    """A document of one step; `contents` starts at line 5."""
    return f"## Steps\n\n### Step 1: Do it\n\n{contents}\n"


def codes(parsed: Parsed, severity: Severity = Severity.ERROR) -> list[str]:
    return [problem.code for problem in parsed.problems if problem.severity is severity]


def only(parsed: Parsed, severity: Severity = Severity.ERROR) -> Problem:
    found = [problem for problem in parsed.problems if problem.severity is severity]
    assert len(found) == 1, [str(problem) for problem in parsed.problems]
    return found[0]


def _source(path: str, contents: Any) -> SourceFile | None:
    if contents is None:
        return None
    if isinstance(contents, dict):
        contents = json.dumps(contents, indent=2)
    return SourceFile(path, contents if isinstance(contents, bytes) else contents.encode())
