// SPDX-License-Identifier: Apache-2.0
// Source: README of Tencent-Hunyuan/HunyuanOCR, "Application-oriented Prompts". The prompt for Lean
// is a neutral one: none was published.
#include "task_presets.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

// "price, date" -> 'price','date': as the published prompt lists them.
std::string quoted_names(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view name = text.substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (!name.empty()) {
      if (!out.empty()) out += ',';
      out += '\'';
      out += name;
      out += '\'';
    }
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

}  // namespace

const std::vector<TaskPreset>& task_presets() {
  static const std::vector<TaskPreset> presets = {
      {"ocr", "提取图中的文字。", "HunyuanOCR: the text of a picture"},
      {"ocr-en", "Extract the text in the image.", "the same, asked in English"},
      {"spotting",
       "检测并识别图片中的文字，将文本坐标格式化输出。",
       "HunyuanOCR: text with its coordinates, 0 to 1000"},
      {"spotting-en",
       "Detect and recognize text in the image, and output the text coordinates in a formatted "
       "manner.",
       "the same, asked in English"},
      {"formula", "识别图片中的公式，用 LaTeX 格式表示。", "HunyuanOCR: a formula as LaTeX"},
      {"table", "把图中的表格解析为 HTML。", "HunyuanOCR: a table as HTML"},
      {"table-en", "Parse the table in the image into HTML.", "the same, asked in English"},
      {"chart",
       "解析图中的图表，对于流程图使用 Mermaid 格式表示，其他图表使用 Markdown 格式表示。",
       "HunyuanOCR: a chart as Mermaid or Markdown"},
      {"subtitles", "提取图片中的字幕。", "HunyuanOCR: the subtitles of a frame"},
      {"subtitles-en", "Extract the subtitles from the image.", "the same, asked in English"},
      {"fields",
       "提取图片中的: [{}] 的字段内容，并按照 JSON 格式返回。",
       "HunyuanOCR: the fields PROMPT names (a,b,c) as JSON",
       TaskPreset::Adds::names},
      {"lean4",
       "Translate the following problem into a Lean 4 statement with Mathlib. Begin with `import "
       "Mathlib`, name the theorem `problem`, leave its proof as `by sorry`, and answer with one "
       "lean4 code block.\n\n{}",
       "PROMPT, a problem in words, as a statement in Lean 4: one fenced block, made sure of",
       TaskPreset::Adds::text,
       "lean4",
       false}};
  return presets;
}

std::vector<std::string> task_preset_names() {
  std::vector<std::string> out;
  for (const TaskPreset& preset : task_presets()) out.emplace_back(preset.name);
  return out;
}

const TaskPreset& task_preset(std::string_view name) {
  const auto& presets = task_presets();
  const auto preset = std::ranges::find(presets, name, &TaskPreset::name);
  if (preset == presets.end())
    fail(ErrorCode::invalid_argument, "--preset {}: there is no such task", name);
  return *preset;
}

std::string task_prompt(std::string_view name, std::string_view text) {
  const TaskPreset& preset = task_preset(name);
  if (preset.adds == TaskPreset::Adds::nothing) {
    if (!text.empty())
      fail(ErrorCode::invalid_argument,
           "--preset {}: its prompt is fixed; leave PROMPT out, or the preset",
           name);
    return std::string(preset.prompt);
  }
  const bool takes_names = preset.adds == TaskPreset::Adds::names;
  const std::string added = takes_names ? quoted_names(text) : std::string(text);
  if (added.empty())
    fail(ErrorCode::invalid_argument,
         "--preset {}: PROMPT must {}",
         name,
         takes_names ? "name the fields, with commas between them" : "state the problem");
  std::string out(preset.prompt);
  out.replace(out.find("{}"), 2, added);
  return out;
}

}  // namespace quern
