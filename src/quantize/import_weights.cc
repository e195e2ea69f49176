// SPDX-License-Identifier: Apache-2.0
#include "quantize/import_weights.h"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/shown_text.h"
#include "quantize/staging.h"
#include "quantize/whisper_ctranslate2.h"
#include "weights/onnx_file.h"
#include "weights/stored.h"
#include "weights/torch_file.h"
#include "weights/zip_archive.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModelFile = "model.bin", kWeightFile = "model.safetensors";
constexpr uint64_t kMaxSideFile = uint64_t{64} << 20;
const FileMetadata kMetadata = {{"format", "pt"}};  // without it transformers refuses the file

// Largest elements first, so that each tensor begins at a multiple of its elements' size.
void align(std::vector<OutTensor>& tensors) {
  std::ranges::stable_sort(tensors, std::greater<>(), [](const OutTensor& tensor) {
    return block_of(tensor.entry.stored).bytes;
  });
}

// The header of safetensors has one name that is no tensor's, and is UTF-8.
void expect_writable(const std::string& name) {
  bool is_text = true;
  try {
    (void)Json(name).dump();
  } catch (const Json::exception&) {
    is_text = false;
  }
  if (!is_text || name == "__metadata__")
    fail(ErrorCode::unsupported, "tensor {}: safetensors cannot hold this name", shown_text(name));
}

std::vector<OutTensor> all_tensors(const Checkpoint& source) {
  std::vector<OutTensor> out;
  for (const std::string& name : source.names()) {
    expect_writable(name);
    const TensorInfo& info = source.info(name);
    OutTensor& tensor = out.emplace_back();
    tensor.entry = {name, info.stored, info.shape, 0, 0};
    tensor.write = [&source, name](FileWriter& file) { file.write(source.bytes(name)); };
  }
  align(out);
  return out;
}

ImportReport report_of(std::string kind, const std::vector<OutTensor>& tensors) {
  ImportReport out{std::move(kind), tensors.size(), 0, {}};
  for (const OutTensor& tensor : tensors)
    out.bytes += stored_bytes(tensor.entry.stored, tensor.entry.shape, tensor.entry.name);
  return out;
}

// A file that takes its name when it is whole, and leaves nothing where it never is.
void write_one_file(const std::string& path, const std::vector<OutTensor>& tensors) {
  if (fs::exists(fs::symlink_status(path)))
    fail(ErrorCode::invalid_argument,
         "{}: exists already: name another file, or remove it first",
         path);
  const std::string part = path + ".part";
  std::error_code ignored;
  try {
    write_part(part, tensors, kMetadata);
  } catch (...) {
    fs::remove(part, ignored);
    throw;
  }
  if (::renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return;
  const int error = errno;
  fs::remove(part, ignored);
  fail(ErrorCode::unavailable, "{}: cannot take its name: {}", path, std::strerror(error));
}

// Makes the folder `out`; where `make` throws nothing is left of it.
template <typename Make>
void staged(const ImportRequest& request, Make&& make) {
  Staging staging(request.out, request.in);
  try {
    make(staging);
    staging.publish();
  } catch (...) {
    staging.discard();
    throw;
  }
}

ImportReport write_tensors(const std::string& kind,
                           const Checkpoint& source,
                           const std::string& out) {
  const std::vector<OutTensor> tensors = all_tensors(source);
  if (tensors.empty()) fail(ErrorCode::unsupported, "{}: no tensors in it", source.config().path());
  ImportReport report = report_of(kind, tensors);
  if (out.ends_with(".safetensors")) {
    write_one_file(out, tensors);
    report.files = {out};
    return report;
  }
  staged({source.config().path(), out}, [&](const Staging& staging) {
    staging.expect_room(report.bytes);
    write_part(staging.folder() + "/" + std::string(kWeightFile), tensors, kMetadata);
  });
  report.files = {out + "/" + std::string(kWeightFile)};
  return report;
}

ImportReport write_model(const std::string& folder,
                         const Staging& staging,
                         const std::string& out) {
  ImportedModel model = whisper_of_ctranslate2(folder);
  align(model.tensors);
  ImportReport report = report_of("CTranslate2 Whisper", model.tensors);
  staging.expect_room(report.bytes);
  model.files[std::string(kWeightFile)] = "";
  for (const auto& [name, content] : model.files) {
    const std::string path = staging.folder() + "/" + name;
    if (name == kWeightFile)
      write_part(path, model.tensors, kMetadata);
    else
      write_file_whole(path, content);
    report.files.push_back(out + "/" + name);
  }
  return report;
}

// The model in a wheel: the files of the folder that its model.bin lies in.
std::vector<ZipEntry> model_files(const std::vector<ZipEntry>& entries) {
  const auto is_model = [](const ZipEntry& e) { return fs::path(e.name).filename() == kModelFile; };
  const auto model = std::ranges::find_if(entries, is_model);
  if (model == entries.end())
    fail(ErrorCode::unsupported,
         "a zip archive with neither data.pkl (torch.save) nor model.bin (CTranslate2)");
  if (std::ranges::count_if(entries, is_model) > 1)
    fail(ErrorCode::unsupported, "several model.bin: unpack it, and name one of the folders");
  constexpr std::string_view kSideFiles[] = {
      "config.json", "tokenizer.json", "preprocessor_config.json"};
  std::vector<ZipEntry> out{*model};
  for (const ZipEntry& entry : entries)
    for (const std::string_view name : kSideFiles)
      if (fs::path(entry.name) == fs::path(model->name).parent_path() / name) {
        if (entry.size > kMaxSideFile)
          fail(ErrorCode::data_loss, "{:.200}: {} bytes", entry.name, entry.size);
        out.push_back(entry);
      }
  return out;
}

// Into a hidden folder, which is gone before the model takes its name.
std::string unpack_model(std::span<const ZipEntry> entries, const Staging& staging) {
  const std::string folder = staging.folder() + "/.unpacked";
  fs::create_directories(folder);
  uint64_t bytes = 0;
  for (const ZipEntry& entry : entries) bytes += std::min<uint64_t>(entry.size, uint64_t{1} << 60);
  staging.expect_room(static_cast<int64_t>(std::min<uint64_t>(bytes, INT64_MAX)));
  for (const ZipEntry& entry : entries) {
    FileWriter out(folder + "/" + fs::path(entry.name).filename().string());
    unpack(entry, [&](std::span<const std::byte> piece) { out.write(piece); });
    out.finish();
  }
  return folder;
}

void expect_folder(const std::string& out) {
  if (out.ends_with(".safetensors"))
    fail(ErrorCode::invalid_argument,
         "{}: a whole model becomes a folder: weights, configuration and tokenizer; name a folder",
         out);
}

ImportReport import_folder(const ImportRequest& request) {
  if (!file_exists(request.in + "/" + std::string(kModelFile)))
    fail(ErrorCode::unsupported,
         "{}: no model.bin: of folders this build converts those of CTranslate2",
         request.in);
  expect_folder(request.out);
  ImportReport report;
  staged(request,
         [&](const Staging& staging) { report = write_model(request.in, staging, request.out); });
  return report;
}

ImportReport import_wheel(const ImportRequest& request, std::span<const std::byte> archive) {
  const std::vector<ZipEntry> entries =
      with_context(request.in, [&] { return model_files(read_zip_directory(archive)); });
  expect_folder(request.out);
  ImportReport report;
  staged(request, [&](const Staging& staging) {
    const std::string folder =
        with_context(request.in, [&] { return unpack_model(entries, staging); });
    report = write_model(folder, staging, request.out);
    fs::remove_all(folder);
  });
  return report;
}

bool is_torch_archive(std::span<const std::byte> file) {
  return std::ranges::any_of(read_zip_directory(file), [](const ZipEntry& entry) {
    return fs::path(entry.name).filename() == "data.pkl";
  });
}

}  // namespace

ImportReport import_weights(const ImportRequest& asked) {
  ImportRequest request = asked;
  while (request.out.size() > 1 && request.out.ends_with('/')) request.out.pop_back();
  const std::string& in = request.in;
  if (is_directory(in)) return import_folder(request);
  if (in.ends_with(".onnx")) return write_tensors("onnx", OnnxFile(in), request.out);
  const MappedFile file(in);
  const bool is_zip = begins_as_zip(file.bytes());
  const bool is_torch =
      in.ends_with(".pt") || in.ends_with(".pth") ||
      (is_zip && with_context(in, [&] { return is_torch_archive(file.bytes()); }));
  if (is_torch) return write_tensors("torch", *open_torch_file(in), request.out);
  if (is_zip) return import_wheel(request, file.bytes());
  fail(ErrorCode::unsupported,
       "{}: neither a file of torch.save, nor .onnx, nor a wheel or folder of a CTranslate2 model",
       in);
}

}  // namespace quern
