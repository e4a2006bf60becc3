"""Words of the reports beside their headings: reasons, statuses, units, what is in the pictures."""

from __future__ import annotations

# Reasons of a verdict (reports/record/verdict.py); what stands in braces comes from the record.
REASONS = {
    "own_words": ("{en}", "{zh}"),
    "not_assessed_for": ("not assessed: {en}", "未评估：{zh}"),
    "said_by": ("{test}: {why}", "{test}：{why}"),
    "skipped_test": ("{test} was skipped: {why}", "{test}被跳过：{why}"),
    "failed_as_expected": (
        "{test} is marked as expected to fail, and failed: {why}",
        "{test}被标记为预期失败，并且失败：{why}",
    ),
    "passed_though": (
        "{test} is marked as expected to fail, and passed: {why}",
        "{test}被标记为预期失败，却通过：{why}",
    ),
    "not_run": ("{count} of {all} tests were not run", "{all}项测试中有{count}项未执行"),
    "asked_only": ("only this was asked for: {only}", "只指定执行了：{only}"),
    "no_tests_of": (
        "no test was there for the clauses {clauses}",
        "以下条款没有对应的测试：{clauses}",
    ),
    "collected_unknown": (
        "the record does not say which tests there are",
        "记录中没有应执行测试的清单",
    ),
    "standins": ("parts of the lab are stand-ins", "环境中有替身组件"),
    "parts_unseen": (
        "it was not seen whether these are real: {en}",
        "未能查明以下部件是否真实：{zh}",
    ),
    "parts_unknown": (
        "the record does not say which parts are real",
        "记录未说明哪些部件是真实的",
    ),
    "not_put_back": ("the host is not as it was before", "主机未恢复原状"),
    "interrupted": ("the run was interrupted", "运行被中断"),
    "cut_off": (
        "the run was cut off: its record has no end",
        "运行中途终止：记录没有结尾",
    ),
    "ended_with": (
        "the run did not end as it should: exit status {status}",
        "运行未正常结束：退出码{status}",
    ),
    "failed_besides": (
        "the run failed though none of its tests did: a suite could not be collected, or the like",
        "没有测试失败，但运行失败：例如有测试文件无法收集",
    ),
    "worse": (
        "a figure is worse than usual, or a waiver expired",
        "某项指标劣于正常区间，或豁免已过期",
    ),
    "waived_figure": (
        "{what} is worse than usual, which {owner} has waived until {expires}: {reason}",
        "{what}劣于正常区间，{owner}已豁免至{expires}：{reason}",
    ),
    "altered": ("The record or its evidence was altered.", "记录或证据已被改动。"),
    "harness_changed": (
        "the harness is no commit of its own, but changed: what it asserts is not known",
        "测试框架不是已提交的版本，有改动：其断言内容无从核对",
    ),
    "part_conditional": ("{name}: conditional", "{name}：有条件合格"),
    "part_rehearsed": ("{name}: rehearsed", "{name}：演练通过"),
    "part_failed": ("{name}: failed", "{name}：不合格"),
    "part_not assessed": ("{name}: not assessed", "{name}：未评估"),
}

STATUSES = {
    "verdict_qualified": ("qualified", "合格"),
    "verdict_conditional": ("conditional", "有条件合格"),
    "verdict_rehearsed": ("rehearsed", "演练通过"),
    "verdict_void": ("void", "作废"),
    "verdict_failed": ("failed", "不合格"),
    "verdict_not assessed": ("not assessed", "未评估"),
    "passed": ("passed", "通过"),
    "harness error": ("harness error", "测试框架错误"),
    "usage": ("usage", "用法错误"),
    "no tests": ("no tests", "未选中测试"),
    "unreachable": ("unreachable", "无法连接主机"),
    "residue": ("residue", "主机上有残留"),
    "refused": ("refused", "主机拒绝运行"),
    "failed": ("failed", "失败"),
    "error": ("error", "错误"),
    "blocked": ("blocked", "被阻塞"),
    "skipped": ("skipped", "跳过"),
    "not assessed": ("not assessed", "未评估"),
    "expected failure": ("expected failure", "预期失败"),
    "unexpected pass": ("unexpected pass", "意外通过"),
    "provisioned": ("provisioned", "新建"),
    "reused": ("reused", "沿用"),
    "verified only": ("verified only", "仅核对"),
    "interrupted": ("interrupted", "被中断"),
    "started": ("not ended", "未结束"),
    "regression": ("regression", "退化"),
    "waived": ("waived", "已豁免"),
    "no band": ("no band", "无区间"),
    "ok": ("ok", "正常"),
    "deviates": ("deviates from the guide", "与指南有偏差"),
    "high": ("high", "高"),
    "medium": ("medium", "中"),
    "low": ("low", "低"),
    "not there": ("not there", "没有"),
    "did not run": ("did not run", "未执行"),
}

# What joins words: the marks of either language.
MARKS = {
    "colon": (": ", "："),
    "comma": (", ", "，"),
    "and_then": (", ", "、"),
    "stop": (". ", "。"),
    "noted": ("{what} ({more})", "{what}（{more}）"),
    "count_of": ("{count} {status}", "{status}{count}项"),
}

# The sentence at the top of a report (reports/html/headline.py).
HEADLINE = {
    "rehearsed_note": ("with stand-ins: no verdict on hardware", "含替身，不构成合格结论"),
    "inside_only": (
        "Looked at from inside the guest alone: of its host, and of confidential computing, this"
        " says nothing",
        "仅从guest内部检查：不涉及宿主机，也不涉及机密计算",
    ),
    "headline_void": (
        "The record was altered: nothing that stands here can be relied on.",
        "记录已被改动，以下内容均不可采信。",
    ),
    "tests_passed": ("{passed} of {all} tests passed", "{all}项测试中通过{passed}项"),
    "none_failed": ("none failed", "无失败"),
    "host_unknown": (
        "how the host was left is not in the record",
        "记录未说明主机最终状态",
    ),
    "host_not_back": ("The host is not as it was before", "主机未恢复原状"),
    "host_kept": ("The host was left as it is, on request", "按要求保留了主机现状"),
    "host_unchanged": ("Nothing was changed on the host", "未对主机做任何改动"),
    "host_back": ("The host was put back", "主机已恢复原状"),
    "kept_count": ("{count} changes are kept for later runs", "{count}项改动保留给后续运行"),
    "kept_count_one": ("1 change is kept for later runs", "1项改动保留给后续运行"),
    "findings_count": ("{count} security findings", "安全发现{count}项"),
    "findings_count_one": ("1 security finding", "安全发现1项"),
    "findings_others": (
        "{count} more if the guide is followed to the letter",
        "若严格照指南操作，另有{count}项",
    ),
    "no_finding": ("No security finding", "无安全发现"),
}

# What no run of this harness looks at, for whoever signs.
NOT_COVERED = {
    "uncovered_attestation": (
        "Attestation: nobody has proved to a remote party what the guest runs, or that its memory"
        " is confidential.",
        "远程证明：未向远端证明guest中运行的内容，也未证明其内存确为机密。",
    ),
    "uncovered_isolation": (
        "Isolation: no attack was tried, neither by the host on the guest nor by the device.",
        "隔离性：未尝试任何攻击，无论来自主机还是来自设备。",
    ),
    "uncovered_load": (
        "Load and endurance: the figures are those of one short question; bandwidth, memory tests,"
        " long runs and several containers at once are other tools' work.",
        "负载与耐久：所列指标仅来自一个简短的问题；带宽、显存检测、长时间运行和多容器并行须用其他工具。",
    ),
    "uncovered_quality": (
        "The answer: it is asked whether it speaks of the question, and not whether it is right.",
        "回答质量：只检查回答是否切题，不判断其内容是否正确。",
    ),
    "uncovered_silicon": (
        "virtCCA: its checks were written from sources, and not on a Kunpeng.",
        "virtCCA：相关检查依据源码编写，未在鲲鹏机器上验证。",
    ),
}

# What a server of OpenAI's interface says of an answer's end (finish_reason).
ENDS = {
    "ended_length": ("length: cut at max_tokens", "达到max_tokens上限（length）"),
    "ended_stop": ("stop: it had come to its end", "正常结束（stop）"),
    "cut_at_max_tokens": ("cut at max_tokens", "因max_tokens上限被截断"),
}

UNITS = {
    "duration": ("{minutes} min {seconds} s", "{minutes}分{seconds}秒"),
    "seconds_of": ("{value} s", "{value}秒"),
    "unit_s": ("s", "秒"),
    "unit_1/s": ("1/s", "个/秒"),
    "usual_range": ("{low} to {high}", "{low}至{high}"),
    "axis_time": ("seconds since the run began", "运行开始后的秒数"),
}

PICTURES = {
    "span_host": ("lab host", "主机准备"),
    "span_undo": ("undo", "撤销改动"),
    "pic_host": ("lab host", "主机"),
    "pic_group": ("IOMMU group {number}", "IOMMU组{number}"),
    "pic_guest": ("kata guest", "kata guest"),
    "pic_root_port": ("root port {id}", "根端口{id}"),
    "pic_unpaired": ("which one it is, the record does not say", "记录未说明对应关系"),
}

TIMELINE = {
    "tl_title": ("Where the time went", "时间都用在哪里"),
    "tl_sum": (
        "{all} in all. The host answered after {before}; since then no command of it was running"
        " for {own} ({share} %): the harness's own time.",
        "共{all}。主机在{before}后应答；此后无主机命令运行的时间为{own}（{share}%），即测试框架自身的耗时。",
    ),
    "tl_path": ("The critical path", "关键路径"),
    "tl_path_help": (
        "Each step had to wait for the one before it. Dark: a job or a command of the host;"
        " red: none ran.",
        "每一步都须等待前一步。深色：主机上的任务或命令；红色：无命令运行。",
    ),
    "tl_waits": ("What was waited for", "等待关系"),
    "tl_before": ("before the first stage", "第一个阶段之前"),
    "tl_stage": ("stage {name}", "{name}阶段"),
    "tl_tests": ("tests of {name}", "{name}的测试"),
    "tl_undo": ("undo", "撤销改动"),
    "tl_end": ("the end of the run", "运行收尾"),
    "tl_own": ("no command", "无命令运行"),
    "tl_reached": ("until the host answered", "等待主机应答"),
    "tl_job": ("job {name}", "任务{name}"),
    "tl_question": ("question '{name}'", "提问“{name}”"),
    "tl_waited": ("stage {stage} waited for job {job}", "{stage}阶段等待任务{job}"),
    "tl_served": ("stage {stage} waited until job {job} served", "{stage}阶段等待任务{job}就绪"),
    "tl_beside": (
        "job {job} of stage {stage} ran for {took} beside the rest, and had ended {late} before it"
        " was looked at",
        "{stage}阶段的任务{job}与其他工作并行{took}，在被查看前{late}已结束",
    ),
    "tl_lane_path": ("path", "关键路径"),
    "tl_lane_stage": ("stages", "阶段"),
    "tl_lane_job": ("jobs", "任务"),
    "tl_lane_command": ("commands", "命令"),
    "tl_lane_test": ("tests", "测试"),
    "tl_lane_undo": ("undo", "撤销"),
}

# Conditions of a run (reports/record/measures.py); a key of the profile is its own name.
CONDITIONS = {
    "condition_harness": ("Harness (commit)", "测试框架（提交）"),
    "condition_profile": ("Profile (sha256)", "配置（sha256）"),
    "condition_guide": ("Deployment guide (sha256)", "部署指南（sha256）"),
    "condition_clauses": ("Clauses of the guide (sha256)", "指南条款（sha256）"),
}

# Figures (reports/record/measures.py): a waiver names one by its English text.
FIGURES = {
    "stage_seconds": ("stage {name} seconds", "“{name}”阶段耗时（秒）"),
    "answer seconds": ("answer seconds", "回答耗时（秒）"),
    "answer tokens_per_second": ("answer tokens_per_second", "回答速率（token/秒）"),
    "streamed first_token_seconds": (
        "streamed first_token_seconds",
        "流式回答：首个token耗时（秒）",
    ),
    "streamed seconds": ("streamed seconds", "流式回答耗时（秒）"),
    "streamed tokens_per_second": ("streamed tokens_per_second", "流式回答速率（token/秒）"),
}

CAPABILITIES = {
    "model": ("model", "模型"),
    "platform": ("platform", "平台"),
    "rootfs": ("guest image", "guest镜像"),
    "kata": ("kata configuration", "kata配置"),
    "image": ("container image", "容器镜像"),
    "gpu": ("device passthrough", "设备直通"),
    "network": ("network", "网络"),
    "container": ("confidential container", "机密容器"),
    "bare_container": ("container without GPU", "无GPU的对照容器"),
    "guest": ("GPU in the guest", "guest内的GPU"),
    "local": ("the lab's own tests", "实验环境自有的测试"),
}

# The English text comes from the record; what it names of the very lab stands in both.
FINDINGS = {
    "finding_image.tls-off": (
        "{text}",
        "下载源码时不校验证书（git http.sslVerify false等）：中间人可向镜像中放入任何内容",
    ),
    "finding_image.plain-http": ("{text}", "通过明文http下载内容，例如apt镜像源中的软件包"),
    "finding_image.base-not-pinned": (
        "{text}",
        "基础镜像以标签而非摘要指定：同一标签日后可能指向另一个镜像",
    ),
    "finding_image.source-not-pinned": (
        "{text}",
        "源码按分支或标签克隆，两者都可被移动，而非固定到某个提交",
    ),
    "finding_image.packages-not-pinned": (
        "{text}",
        "pip安装的软件包没有校验摘要（--require-hashes）",
    ),
    "finding_image.wheel-check-empty": (
        "{text}",
        "wheel大小检查的目录是dist，其中没有任何构建产物，因此总是通过",
    ),
    "finding_image.few-architectures": (
        "{text}",
        "CUDA代码只为计算能力8.0和9.0构建：更旧的或介于两者之间的卡不受支持",
    ),
    "finding_rootfs.repaired": (
        "{text}",
        "e2fsck修复了基础镜像的副本，可能删除了其中的文件。原文：{text}",
    ),
    "finding_rootfs.in-use": ("{text}", "复制基础镜像时，有其他进程正打开它。原文：{text}"),
    "finding_rootfs.driver-not-pinned": (
        "{text}",
        "驱动安装程序在guest中以root身份运行，但没有摘要规定应为哪个文件。原文：{text}",
    ),
    "finding_model.remote-code": (
        "{text}",
        "模型服务使用--trust-remote-code：会执行随模型而来的代码",
    ),
    "finding_gpu.no-reset": (
        "{text}",
        "设备没有任何复位方法，上一个容器留在其中的内容，下一个容器可以看到。原文：{text}",
    ),
    "finding_network.forward-drop": (
        "{text}",
        "主机FORWARD策略为DROP，且没有规则放行该网桥：容器只能访问主机，无法下载模型。原文：{text}",
    ),
}

WORDS = {
    **REASONS,
    **STATUSES,
    **UNITS,
    **MARKS,
    **HEADLINE,
    **NOT_COVERED,
    **ENDS,
    **PICTURES,
    **TIMELINE,
    **CONDITIONS,
    **FIGURES,
    **CAPABILITIES,
    **FINDINGS,
}
