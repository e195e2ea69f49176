// SPDX-License-Identifier: Apache-2.0
// SourceModel: a checkpoint as what a quantizer makes of it, unit by unit: what lies outside of the
// decoder's layers, then one layer at a time.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/json.h"
#include "quantize/quantizer/source_padding.h"
#include "weights/checkpoint.h"

namespace quern {

struct SourceUnit {
  std::vector<std::string> quantized;  // linear layers, by canonical name
  std::vector<std::string> widened;    // stored as codes, written as floats
  std::vector<std::string> tensors;    // carried over as they are stored
};

class SourceModel {
 public:
  // A folder of safetensors or a GGUF file. `ignored`: names of linear layers that stay floats, or
  // whole parts of names between dots ("down_proj", "layers.0"), or "re:" and a regular expression
  // that is tried from the beginning of a name. Throws as open_checkpoint does; invalid_argument
  // for an entry that matches nothing; as SourcePadding does. `granule`: see there.
  explicit SourceModel(const std::string& path,
                       const std::vector<std::string>& ignored = {},
                       const PaddingChoice& padding = {},
                       int64_t granule = 1);

  const std::shared_ptr<const Checkpoint>& checkpoint() const { return checkpoint_; }
  const std::vector<SourceUnit>& units() const { return units_; }
  int layers() const { return static_cast<int>(units_.size()) - 1; }
  // Linear layers that stay floats, as the files spell them; "lm_head" among them.
  std::vector<std::string> kept() const;
  // How the files spell a canonical name.
  std::string stored_name(const std::string& canonical) const;
  // What grows on the way. All that is asked of this class is as it is afterwards; checkpoint() is
  // as it was.
  const SourcePadding& padding() const { return padding_; }
  // [N, K] of a linear layer, whatever its format.
  Shape shape_of(const std::string& name) const;
  // read_weights() of a linear layer, and read_f32() of any other tensor.
  Tensor weights(const std::string& name) const;
  Tensor floats(const std::string& tensor) const;
  // config.json without what it states of quantization.
  Json config() const;
  // Of weights that were codes and become floats: bf16 or f16, as config.json has it.
  Stored float_type() const { return float_type_; }
  // Files beside the weights, which are carried over; none of a GGUF file.
  const std::vector<std::string>& others() const { return others_; }
  const std::string& path() const { return path_; }
  bool is_gguf() const { return is_gguf_; }
  Hash128 identity() const;

 private:
  void read_spellings();
  void sort_tensors(const std::vector<std::string>& ignored);

  std::string path_;
  bool is_gguf_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  SourcePadding padding_;
  std::map<std::string, std::string, std::less<>> spellings_;  // where they differ
  std::vector<SourceUnit> units_;
  std::set<std::string> kept_;
  std::vector<std::string> others_;
  Stored float_type_ = Stored::bf16;
};

// The whole matrix of a linear layer as float32 [N, K], by its format. Throws data_loss naming the
// place of a weight that is no number.
Tensor read_weights(const Checkpoint& checkpoint, const std::string& name);

}  // namespace quern
