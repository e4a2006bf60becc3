"""The words of the reports, in English and in simplified Chinese."""

from __future__ import annotations

from collections.abc import Callable

from reports.texts.words import WORDS

LANGUAGES = ("en", "zh")

TEXTS = {
    **WORDS,
    "title": ("GPU passthrough acceptance report", "GPU直通验收报告"),
    "lab": ("Lab", "实验环境"),
    "run": ("Run", "运行编号"),
    "started_at": ("Started (UTC)", "开始时间（UTC）"),
    "took": ("Took", "耗时"),
    "runner": ("Driven from", "执行机"),
    "guide": ("Deployment guide", "部署指南"),
    "commit": ("Harness", "测试框架版本"),
    "profile": ("Profile", "配置"),
    "profile_help": ("Every value that this run went by", "本次运行所依据的全部取值"),
    "exit_status": ("Exit status", "退出码"),
    "verdict": ("Verdict", "结论"),
    "standins_head": (
        "This run used stand-ins: it can never qualify hardware.",
        "本次运行使用了替身组件：不能作为硬件认证的依据。",
    ),
    "standins_body": (
        "It shows that the procedure and the harness work. Stood in for:",
        "它只说明流程和测试框架可用。被替代的部分：",
    ),
    "parts": ("Parts: what is real", "部件：哪些是真实的"),
    "part": ("Part", "部件"),
    "says": ("Version, or what it says", "版本或自述"),
    "not_reached": ("the run did not come to it", "本次运行未执行到"),
    "real": ("real", "真实"),
    "stand-in": ("stand-in", "替身"),
    "not seen": ("not seen", "未查明"),
    "incomplete": (
        "The record has no end. The run was cut off (killed, or the power failed), or lines were"
        " taken from its end; what is there is as it was written.",
        "记录没有结尾：运行被强行终止（被杀死或断电），或末尾的行被删去；现有内容与写入时一致。",
    ),
    "asks": ("What it asks for", "要求"),
    "where": ("Where", "范围"),
    "finding": ("Finding", "发现"),
    "waiver_unknown": ("A waiver names no figure of this lab:", "豁免所指的指标不存在："),
    "rests_help": (
        "What did not pass comes first. Under each test stands what it asserted, and the values"
        " that were found; it can be opened: the facts that it was given, and the commands that it"
        " ran.",
        "未通过的排在最前。每项测试下列出其断言与实际值；展开可查看其依据的事实与执行的命令。",
    ),
    "asserted": ("asserted", "断言"),
    "found_value": ("found", "实际"),
    "rests_on": ("rests on: ", "依据："),
    "commands_count": ("{count} commands", "{count}条命令"),
    "commands_count_one": ("1 command", "1条命令"),
    "cut_short": ("did not end: cut off after {seconds} s", "未结束：{seconds}秒后被中断"),
    "cut_off_early": ("did not end: cut off", "未结束：被中断"),
    "ended": ("exit status {rc}, after {seconds} s", "退出码{rc}，耗时{seconds}秒"),
    "found": ("What the stages found", "各阶段查明的事实"),
    "found_help": (
        "The facts that the tests were given, and the commands behind them; all of it is in"
        " record.jsonl.",
        "各测试所依据的事实及其背后的命令；完整内容见record.jsonl。",
    ),
    "signature": ("Signature", "签署"),
    "signature_help": (
        "This report is about the record with this digest; made again from it, it says the same.",
        "本报告对应具有以下摘要的记录；由该记录重新生成的报告内容相同。",
    ),
    "signer": ("Name", "姓名"),
    "role": ("Role, organisation", "职务与单位"),
    "date": ("Date", "日期"),
    "signed": ("Signature", "签名"),
    "intact": (
        "Record and evidence agree with each other, and with every digest that was noted of them.",
        "记录与证据的完整性校验通过。",
    ),
    "capabilities": ("Verdict per capability", "各项能力的结论"),
    "capability": ("Capability", "能力"),
    "reasons": ("Reasons", "原因"),
    "tests": ("Tests", "测试"),
    "rules": ("Rules", "判定规则"),
    "rule_failed": (
        "a test of it failed or could not be set up, or was blocked by a stage that failed",
        "有测试失败、无法准备，或被失败的阶段阻塞",
    ),
    "rule_not assessed": (
        "a test or a clause of it was left out, by choice or for the run's end, or was skipped",
        "有测试或条款未执行：被筛除、跳过，或运行提前结束",
    ),
    "rule_void": (
        "the record or its evidence is not as the run wrote it: nothing can be concluded from it",
        "记录或证据与运行时写入的不一致，不能据此得出任何结论",
    ),
    "rule_rehearsed": (
        "every test ran and none failed, in a lab with stand-ins: the procedure was exercised, and"
        " nothing is said of hardware",
        "测试全部执行且无失败，但环境中有替身组件：只演练了流程，不构成对硬件的任何结论",
    ),
    "rule_conditional": (
        "every test ran and none failed, but some could not be assessed here, were expected to"
        " fail, or it was not seen whether its parts are real",
        "测试全部执行且无失败，但有的在此无法评估、被标记为预期失败，或未能查明部件是否真实",
    ),
    "rule_qualified": (
        "every one of its tests ran on real parts and passed",
        "全部测试在真实部件上执行并通过",
    ),
    "worst": (
        "The run's verdict is that of its worst capability. A host that was not put back fails it;"
        " a run that did not come to its end is not assessed; a host that was kept as it is, a"
        " figure worse than usual, a waiver in use or a changed harness make it conditional at"
        " best.",
        "整体结论取最差的一项。主机未恢复原状即为不合格；运行未正常结束即为未评估；"
        "保留主机现状、指标劣于正常区间、使用豁免或测试框架有改动时，至多为有条件合格。",
    ),
    "first_failure": ("First failure", "首个失败项（多为根因）"),
    "ran_last": ("What it ran last on the host:", "此前在主机上最后执行的命令："),
    "hint": ("Hint", "建议"),
    "new_failures": ("New failures", "新增失败"),
    "all_new": (
        "New failures, there being no earlier run of this lab",
        "新增失败（本实验环境没有更早的运行）",
    ),
    "known_failures": ("Failed before, too", "此前已失败"),
    "new_passes": ("New passes", "恢复通过"),
    "slower": ("Worse than usual", "劣于平常"),
    "usually": ("usually {low} to {high}", "平常为{low}至{high}"),
    "and_more": ("{count} more", "另有{count}项"),
    "report": ("Report", "报告"),
    "contents": ("Contents", "目录"),
    "standins_of": ("stand-ins: {names}", "替身：{names}"),
    "not_covered": ("Not covered by this report", "本报告未涵盖的内容"),
    "inventory": ("Hardware and software", "硬件与软件清单"),
    "timeline": ("Stages over time", "各阶段时间线"),
    "seconds": ("seconds", "秒"),
    "topology": ("IOMMU group and PCI topology", "IOMMU组与PCI拓扑"),
    "clauses": ("Clauses of the guide", "指南条款覆盖"),
    "clause": ("Clause", "条款"),
    "proved_by": ("Its tests", "验证用例"),
    "no_test": ("no test ran", "无测试执行"),
    "model_head": ("The model's answer", "模型回答"),
    "figures": ("Figures", "性能数据"),
    "measured": ("Measured", "实测"),
    "expected": ("Expected", "预期"),
    "ratio": ("Ratio", "比值"),
    "at_least": ("{value} at least", "不低于{value}"),
    "source": ("Source", "来源"),
    "proved": (
        "{proved} of {count} clauses proved by this run",
        "{count}条条款中，本次运行验证通过{proved}条",
    ),
    "exercised": (
        "{proved} of {count} clauses exercised by this run, none proved on hardware",
        "{count}条条款中，本次运行演练了{proved}条，均未在硬件上验证",
    ),
    "not_here": ("Cannot be assessed on this target:", "在此类环境中无法评估："),
    "command": ("Command", "命令"),
    "baseline": ("Against the good runs before", "与此前成功运行的比较"),
    "measure": ("Figure", "指标"),
    "value": ("Value", "数值"),
    "band": ("Usual", "正常区间"),
    "left_its_band": ("worse than usual", "劣于正常区间"),
    "state": ("State", "状态"),
    "expired": ("A waiver has expired:", "豁免已过期："),
    "here": ("in this lab", "本环境"),
    "to_the_letter": ("if the guide is followed to the letter", "若严格照指南操作"),
    "skip_help": (
        "Not assessed: cannot be looked at here. Blocked: stands behind a stage that failed.",
        "“未评估”：在当前环境中无法检查。“被阻塞”：依赖的阶段失败。",
    ),
    "deviations": ("Deviations from the guide", "与指南的偏差"),
    "findings": ("Security findings", "安全发现"),
    "severity": ("Severity", "级别"),
    "changes": ("Changes to the host", "对主机的改动"),
    "changes_none": ("Nothing was changed.", "没有改动。"),
    "stage": ("Stage", "阶段"),
    "change": ("Change", "改动"),
    "outcome": ("Put back", "是否恢复"),
    "undone": ("yes", "已恢复"),
    "not needed": ("yes (was not there any more)", "已恢复（已不存在）"),
    "undo_failed": ("NO", "未恢复"),
    "kept_change": (
        "kept for later runs (--restore takes it back)",
        "保留给后续运行（--restore可撤销）",
    ),
    "left": ("NO, and nobody tried", "未恢复，也未尝试"),
    "kept": ("The host was left as it is, on request.", "按要求保留了主机现状。"),
    "test": ("Test", "测试"),
    "evidence": ("Evidence", "证据"),
    "message": ("Message", "信息"),
    "none": ("none", "无"),
    "fleet_title": ("GPU passthrough acceptance of several hosts", "多台主机的GPU直通验收"),
    "fleet_hosts": ("Hosts", "主机"),
    "fleet_passed": ("passed", "通过"),
    "fleet_failed": ("failed", "失败"),
    "fleet_open": (
        "of which nothing is known (not reached, in use, interrupted, cut off, altered)",
        "无法评估（无法连接、被占用、被中断、记录不完整或被改动）",
    ),
    "fleet_failures": (
        "What failed first, and what differs from the hosts that passed",
        "首个失败，以及与通过的主机的差异",
    ),
    "fleet_help": (
        "Ranked by how well a condition tells hosts that failed from those that passed (gain"
        " ratio). Of few hosts it may do so by chance: a candidate for the cause, and no more.",
        "按各项条件区分失败与通过主机的程度（信息增益率）排序。主机少时可能出于偶然：只是可能的原因。",
    ),
    "fleet_none_passed": (
        "No host passed: there is none to hold this against.",
        "没有通过的主机，无从比较。",
    ),
    "fleet_alike": (
        "Nothing that the records know of: every condition is alike on both sides.",
        "记录中没有差异：各项条件在两边都相同。",
    ),
    "fleet_more": ("and {count} more that tell less", "另有{count}项区分程度更低"),
    "fleet_others": ("{names} and {count} more", "{names}等，另有{count}台"),
    "fleet_versions": (
        "The records are of several versions of the harness, which may ask for other things:"
        " {commits}",
        "这些记录来自测试框架的不同版本，要求可能不同：{commits}",
    ),
    "fleet_one_host": (
        "{labs}: these labs are one machine, {host}",
        "{labs}：这些实验环境是同一台主机{host}",
    ),
    "trend_title": ("Acceptance over time", "验收趋势"),
    "run_seconds": ("the whole run, seconds", "整次运行耗时（秒）"),
    "no_verdict": (
        "ended for reasons outside of the lab (interrupted, unreachable, refused, ...)",
        "因实验环境以外的原因结束（被中断、无法连接、被拒绝等）的次数",
    ),
    "runs": ("Runs", "运行次数"),
    "shown": ("the newest {shown} of {count} are shown", "显示最近{shown}次，共{count}次"),
    "good_runs": ("passed", "通过次数"),
    "divergence": ("The newest failure: where it first went otherwise", "最近一次失败：首个分歧点"),
    "no_failure": ("None of these runs failed.", "这些运行都没有失败。"),
    "failed_run": ("Failed run", "失败的运行"),
    "last_good": ("Last good run before it", "此前最近一次成功的运行"),
    "first_step": ("First step that differs", "首个不同的步骤"),
    "cause": ("What it said", "报错信息"),
    "changed": ("What had changed by then", "其间的变化"),
    "nothing_changed": (
        "Nothing that the records know of: the same versions, settings and guide.",
        "记录中没有变化：版本、配置和指南都相同。",
    ),
    "then": ("last good run", "上次成功时"),
    "now": ("failed run", "失败时"),
    "measures": ("Times and rates, with the band of what is usual", "耗时与速率，及其正常区间"),
    "left_band": (
        "{name}: {value}, usually {low} to {high}",
        "{name}：{value}，正常区间为{low}至{high}",
    ),
    "figures_left": ("Figures worse than usual", "劣于正常区间的指标"),
    "charts_help": (
        "Dots: good runs; crosses: others; diamonds: values that were waived. Shaded: the band of"
        " the good runs before the newest one.",
        "圆点：成功的运行；叉：其他运行；菱形：已豁免的数值。阴影：最近一次之前成功运行的正常区间。",
    ),
    "what": ("What", "项目"),
    "no_runs": ("There are no runs yet.", "还没有运行记录。"),
    "other_labs": ("Other labs", "其他实验环境"),
    "newest": ("The newest run", "最近一次运行"),
    "newest_runs": ("The newest runs", "最近的运行"),
    "tests_over_time": ("Tests over time", "各测试的历史"),
    "pass_rate": ("Pass rate", "通过率"),
    "flips": ("Flips", "结果反复次数"),
    "flips_help": (
        "how often a test's outcome differed from the run before; many flips: flaky",
        "测试结果与前一次不同的次数；次数多说明不稳定",
    ),
    "latest": ("Latest", "最近一次"),
    "record": ("Record", "记录"),
    "again": ("Make this report again with", "重新生成本报告的命令"),
}


def counted(text: Callable[[str], str], key: str, count: int) -> str:
    """The text of a key with its count; English has another one for 1."""
    return text(f"{key}_one" if count == 1 else key).format(count=count)


def translator(language: str) -> Callable[[str], str]:
    """A function that gives the text of a key in the language; a key without text is its own."""
    column = LANGUAGES.index(language)

    def text(key: str) -> str:
        return TEXTS[key][column] if key in TEXTS else key

    return text
