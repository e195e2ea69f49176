// SPDX-License-Identifier: Apache-2.0
#include "compare/quantize_report.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bench/result.h"
#include "compare/stored_bytes.h"
#include "compare/table.h"
#include "weights/safetensors_writer.h"

namespace quern::compare {
namespace {

constexpr const char* kReportFile = "quern-quantize.json";

// The rows that are known without measuring, in the form of a comparison's.
Json static_comparison(const Json& report) {
  const auto side = [&](const char* label, const char* bytes, const char* kinds, std::string name) {
    return Json{{"label", label},
                {"name", std::move(name)},
                {"bytes", report.at(bytes)},
                {"bytes_by_kind", report.at(kinds)}};
  };
  return {
      {"a", side("quantized", "bytes", "bytes_by_kind", report.at("scheme").get<std::string>())},
      {"b",
       side("source",
            "source_bytes",
            "source_bytes_by_kind",
            report.at("source").get<std::string>())},
      {"between", Json::object()}};
}

std::string page_of(const Json& report) {
  const auto measured = report.find("measured");
  const bool is_measured = measured != report.end();
  Json tables = Json::object();
  tables["against the source"] =
      is_measured ? measured->at("table") : table_rows(static_comparison(report));
  if (is_measured) tables["commands"] = measured->at("commands");
  tables["layers"] = layer_rows(report);
  Json fields = report;
  fields.erase("layers");
  return bench::page(
      format("{}, quantized as {}",
             std::filesystem::path(report.at("source").get<std::string>()).filename().string(),
             report.at("scheme").get<std::string>()),
      tables,
      {layer_plot(report)},
      fields);
}

}  // namespace

void add_static_report(const std::string& folder, Json& report) {
  report["bytes_by_kind"] = bytes_by_kind(*open_checkpoint(folder));
  report["source_bytes_by_kind"] =
      bytes_by_kind(*open_checkpoint(report.at("source").get<std::string>()));
  write_file_whole(folder + "/" + kReportPage, page_of(report));
}

Json add_measured_report(const std::string& folder,
                         const std::string& source,
                         CompareRequest request) {
  request.a = folder, request.b = source;
  request.a_label = "quantized", request.b_label = "source";
  const Topology machine = probe_topology();
  Json measured = bench::result_head("quantize", machine.isa, machine.physical_cores);
  measured.update(compare(request));
  measured["table"] = table_rows(measured);
  Json report = read_json_file(folder + "/" + kReportFile);
  report["measured"] = measured;
  write_file_whole(folder + "/" + kReportFile,
                   report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  write_file_whole(folder + "/" + kReportPage, page_of(report));
  return measured;
}

}  // namespace quern::compare
