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

UNITS = {
    "duration": ("{minutes} min {seconds} s", "{minutes}分{seconds}秒"),
    "seconds_of": ("{value} s", "{value}秒"),
    "unit_s": ("s", "秒"),
    "unit_1/s": ("1/s", "个/秒"),
    "usual_range": ("{low} to {high}", "{low}至{high}"),
    "axis_time": ("seconds since the run began", "运行开始后的秒数"),
}

PICTURES = {
    "pic_host": ("lab host", "主机"),
    "pic_group": ("IOMMU group {number}", "IOMMU组{number}"),
    "pic_guest": ("kata guest", "kata guest"),
    "pic_root_port": ("root port {id}", "根端口{id}"),
    "pic_unpaired": ("which one it is, the record does not say", "记录未说明对应关系"),
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
    **PICTURES,
    **FIGURES,
    **CAPABILITIES,
    **FINDINGS,
}
