// Opcodes as CPython's pickletools documents them, protocols 2 to 5.
#include "io/restricted_unpickler.h"

#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/error.h"

namespace baichuan {

namespace {

enum class Kind { kNone, kBool, kInteger, kNumber, kText, kTuple, kList, kDict, kGlobal, kStorage, kTensor };

// Values live in one list and refer to each other by position, so cycles and shared values cost nothing.
using Id = std::uint32_t;

struct Value {
  Kind kind = Kind::kNone;
  std::int64_t integer = 0;  // kBool, kInteger; kStorage: elements; kTensor: position in the list of tensors
  std::string text;          // kText, kGlobal ("module.name"); kStorage: the key
  at::ScalarType dtype = at::ScalarType::Undefined;  // kStorage
  std::vector<Id> items;                             // kTuple, kList; kDict: key, value, key, value, ...
};

constexpr std::size_t kMostValues = 4'000'000;  // a 13B state dict has about 10,000
constexpr std::size_t kMostDimensions = 64;
constexpr std::size_t kMostKeyBytes = 64;  // torch counts storages: "0", "1", ...
constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kTorch = "torch.";

const char* kind_name(Kind kind) {
  constexpr std::array kNames{"None",   "a bool",       "an integer", "a number",  "a text",  "a tuple",
                              "a list", "a dictionary", "a name",     "a storage", "a tensor"};
  return kNames[static_cast<std::size_t>(kind)];
}

// Names come from a file that may be damaged or hostile; messages stay one line of plain text.
std::string printable(std::string_view name) {
  constexpr std::size_t kMost = 120;
  std::string text(name.substr(0, kMost));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return name.size() > kMost ? text + "..." : text;
}

class Unpickler {
 public:
  Unpickler(std::string_view pickle, const std::string& origin) : input_(pickle), origin_(origin) {}

  std::vector<PickledTensor> run() {
    while (!stopped_) step();
    return collect();
  }

 private:
  [[noreturn]] void damaged(std::string_view what) const {
    throw CheckpointError(
        "{}: expected the pickle of a state dict; {} at byte {}; incomplete download or corrupt file?", origin_, what,
        at_);
  }

  // --- input
  std::string_view take(std::uint64_t bytes) {
    if (bytes > input_.size() - at_) damaged("it ends too early");
    const auto taken = input_.substr(at_, bytes);
    at_ += bytes;
    return taken;
  }
  template <class T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const auto end = input_.find('\n', at_);
    if (end == std::string_view::npos) damaged("it ends too early");
    const auto taken = take(end - at_);
    ++at_;
    return taken;
  }

  // --- values and stack
  Id make(Value value) {
    if (values_.size() >= kMostValues) damaged(fmt::format("it holds more than {} values", kMostValues));
    values_.push_back(std::move(value));
    return static_cast<Id>(values_.size() - 1);
  }
  void push(Id id) { stack_.push_back(id); }
  void push(Value value) { push(make(std::move(value))); }
  void push_integer(std::int64_t value) { push({Kind::kInteger, value, {}, {}, {}}); }
  void push_text(std::string_view text) { push({Kind::kText, 0, std::string(text), {}, {}}); }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Id pop() {
    if (stack_.size() <= floor()) damaged("an operation finds no value");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Id top() const {
    if (stack_.size() <= floor()) damaged("an operation finds no value");
    return stack_.back();
  }
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) damaged("an operation finds no mark");
    std::vector<Id> items(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  std::vector<Id> pop_some(std::size_t count) {
    std::vector<Id> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }
  Value& value(Id id) { return values_[id]; }
  const Value& expect(Id id, Kind kind, std::string_view role) {
    if (value(id).kind != kind)
      damaged(fmt::format("{} is {} instead of {}", role, kind_name(value(id).kind), kind_name(kind)));
    return value(id);
  }

  // --- operations
  void step();
  void step_value(std::uint8_t opcode);
  void step_wide(std::uint8_t opcode);
  void long_integer(std::uint64_t bytes);
  void append(const std::vector<Id>& items);
  void set_items(const std::vector<Id>& items);
  void remember(std::uint64_t slot) {
    if (memo_.size() >= kMostValues) damaged(fmt::format("it remembers more than {} values", kMostValues));
    memo_[slot] = top();
  }
  void recall(std::uint64_t slot);
  void global(std::string name);
  void persistent_id();
  void reduce();
  void build();
  void rebuild_tensor(const std::vector<Id>& arguments);
  std::vector<std::int64_t> sizes(Id tuple, std::string_view role);

  std::vector<PickledTensor> collect();
  bool holds_tensors(const Value& value) const;

  std::string_view input_;
  const std::string& origin_;
  std::uint64_t at_ = 0;
  bool stopped_ = false;
  std::vector<Value> values_;
  std::vector<Id> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Id> memo_;
  std::vector<PickledTensor> tensors_;
};

// What steers: marks, the stack, filling containers, calls. The rest goes on to step_value and step_wide.
void Unpickler::step() {
  const auto opcode = number<std::uint8_t>();
  switch (opcode) {
    case 0x80:  // PROTO
      if (const auto version = number<std::uint8_t>(); version < 2 || version > 5)
        damaged(fmt::format("pickle protocol {} is not one of 2 to 5", version));
      return;
    case '.':
      stopped_ = true;
      return;
    case '(':
      marks_.push_back(stack_.size());
      return;
    case '0':  // POP takes a mark away when there is nothing above it
      if (stack_.size() > floor())
        stack_.pop_back();
      else
        (void)pop_to_mark();
      return;
    case '1':
      (void)pop_to_mark();
      return;
    case '2':
      push(top());
      return;
    case 'a':
      append(pop_some(1));
      return;
    case 'e':
      append(pop_to_mark());
      return;
    case 's':
      set_items(pop_some(2));
      return;
    case 'u':
      set_items(pop_to_mark());
      return;
    case 'Q':
      persistent_id();
      return;
    case 'R':
      reduce();
      return;
    case 'b':
      build();
      return;
    default:
      step_value(opcode);
  }
}

// What puts a constant or a container on the stack.
void Unpickler::step_value(std::uint8_t opcode) {
  switch (opcode) {
    case 'N':
      push(Value{});
      return;
    case 0x88:
      push({Kind::kBool, 1, {}, {}, {}});
      return;
    case 0x89:
      push({Kind::kBool, 0, {}, {}, {}});
      return;
    case 'K':
      push_integer(number<std::uint8_t>());
      return;
    case 'M':
      push_integer(number<std::uint16_t>());
      return;
    case 'J':
      push_integer(number<std::int32_t>());
      return;
    case 0x8a:
      long_integer(number<std::uint8_t>());
      return;
    case 0x8b:
      long_integer(number<std::uint32_t>());
      return;
    case 'G':
      (void)take(8);
      push({Kind::kNumber, 0, {}, {}, {}});
      return;
    case ')':
      push({Kind::kTuple, 0, {}, {}, {}});
      return;
    case 0x85:
      push({Kind::kTuple, 0, {}, {}, pop_some(1)});
      return;
    case 0x86:
      push({Kind::kTuple, 0, {}, {}, pop_some(2)});
      return;
    case 0x87:
      push({Kind::kTuple, 0, {}, {}, pop_some(3)});
      return;
    case 't':
      push({Kind::kTuple, 0, {}, {}, pop_to_mark()});
      return;
    case ']':
      push({Kind::kList, 0, {}, {}, {}});
      return;
    case 'l':
      push({Kind::kList, 0, {}, {}, pop_to_mark()});
      return;
    case '}':
      push({Kind::kDict, 0, {}, {}, {}});
      return;
    default:
      step_wide(opcode);
  }
}

// Texts, the memo, names; refuses what is left.
void Unpickler::step_wide(std::uint8_t opcode) {
  switch (opcode) {
    case 'X':
      push_text(take(number<std::uint32_t>()));
      return;
    case 0x8c:
      push_text(take(number<std::uint8_t>()));
      return;
    case 0x8d:
      push_text(take(number<std::uint64_t>()));
      return;
    case 'U':
      push_text(take(number<std::uint8_t>()));
      return;  // Python 2's str
    case 'T':
      push_text(take(number<std::uint32_t>()));
      return;
    case 'q':
      remember(number<std::uint8_t>());
      return;
    case 'r':
      remember(number<std::uint32_t>());
      return;
    case 0x94:
      remember(memo_.size());
      return;
    case 'h':
      recall(number<std::uint8_t>());
      return;
    case 'j':
      recall(number<std::uint32_t>());
      return;
    case 0x95:
      (void)number<std::uint64_t>();
      return;  // FRAME: its length is a hint
    case 'c': {
      const std::string_view module = line();
      global(fmt::format("{}.{}", module, line()));
      return;
    }
    case 0x93: {  // STACK_GLOBAL
      const Id name = pop();
      const Id module = pop();
      global(
          fmt::format("{}.{}", expect(module, Kind::kText, "a module").text, expect(name, Kind::kText, "a name").text));
      return;
    }
    default:
      --at_;
      throw CheckpointError(
          "{}: expected the pickle of a state dict; found opcode 0x{:02x} at byte {}, which no state dict needs and "
          "which is never executed; use .safetensors, or save the state dict alone with torch.save",
          origin_, opcode, at_);
  }
}

void Unpickler::long_integer(std::uint64_t bytes) {
  const auto digits = take(bytes);
  if (bytes > 8) damaged("an integer has more than 64 bits");
  std::int64_t value = 0;
  std::memcpy(&value, digits.data(), bytes);
  if (bytes > 0 && bytes < 8 && (static_cast<std::uint8_t>(digits.back()) & 0x80) != 0)
    value |= static_cast<std::int64_t>(~std::uint64_t{0} << (8 * bytes));
  push_integer(value);
}

void Unpickler::append(const std::vector<Id>& items) {
  (void)expect(top(), Kind::kList, "what is appended to");
  auto& list = value(top()).items;
  list.insert(list.end(), items.begin(), items.end());
}

void Unpickler::set_items(const std::vector<Id>& items) {
  (void)expect(top(), Kind::kDict, "what items are set in");
  if (items.size() % 2 != 0) damaged("a key has no value");
  auto& dict = value(top()).items;
  dict.insert(dict.end(), items.begin(), items.end());
}

void Unpickler::recall(std::uint64_t slot) {
  const auto found = memo_.find(slot);
  if (found == memo_.end()) damaged(fmt::format("value {} is used before it is remembered", slot));
  push(found->second);
}

// Naming is all that happens here. A name outside of the list ends the reading, used or not.
void Unpickler::global(std::string name) {
  const bool storage_class =
      name.starts_with(kTorch) && dtype_from_storage_class(std::string_view(name).substr(kTorch.size())).has_value();
  if (!storage_class && name != kOrderedDict && name != kRebuildTensor && name != kRebuildParameter) {
    throw CheckpointError(
        "{}: expected a pickle of tensors alone; it names '{}', which is refused and was not executed; use "
        ".safetensors, or save the state dict alone with torch.save",
        origin_, printable(name));
  }
  push({Kind::kGlobal, 0, std::move(name), {}, {}});
}

// ("storage", torch.<dtype>Storage, key, device, elements)
void Unpickler::persistent_id() {
  const auto items = expect(pop(), Kind::kTuple, "a persistent id").items;
  if (items.size() != 5 || expect(items[0], Kind::kText, "a persistent id").text != "storage")
    damaged("a persistent id is not that of a storage");
  const std::string& name = expect(items[1], Kind::kGlobal, "the class of a storage").text;
  const auto dtype =
      name.starts_with(kTorch) ? dtype_from_storage_class(std::string_view(name).substr(kTorch.size())) : std::nullopt;
  if (!dtype) damaged(fmt::format("'{}' is not the class of a storage", name));
  const std::int64_t numel = expect(items[4], Kind::kInteger, "the size of a storage").integer;
  const std::array<std::int64_t, 1> shape{numel};
  if (!checked_numel(shape)) damaged(fmt::format("a storage has {} elements", numel));
  const std::string& key = expect(items[2], Kind::kText, "the key of a storage").text;
  if (key.size() > kMostKeyBytes) damaged(fmt::format("the key of a storage has {} bytes", key.size()));
  push({Kind::kStorage, numel, key, *dtype, {}});
}

void Unpickler::reduce() {
  const auto arguments = expect(pop(), Kind::kTuple, "the arguments of a call").items;
  const std::string name = expect(pop(), Kind::kGlobal, "what is called").text;
  if (name == kOrderedDict) {
    if (!arguments.empty()) damaged("an OrderedDict is made from values");
    push({Kind::kDict, 0, {}, {}, {}});
  } else if (name == kRebuildTensor) {
    rebuild_tensor(arguments);
  } else if (name == kRebuildParameter) {
    if (arguments.size() != 3) damaged(fmt::format("a parameter has {} parts instead of 3", arguments.size()));
    (void)expect(arguments[0], Kind::kTensor, "the data of a parameter");
    push(arguments[0]);
  } else {
    damaged(fmt::format("'{}' is called", name));
  }
}

// The state of a dictionary is what module.state_dict() hangs on it (_metadata); it holds no weights.
void Unpickler::build() {
  (void)pop();
  (void)expect(top(), Kind::kDict, "an object with a state");
}

std::vector<std::int64_t> Unpickler::sizes(Id tuple, std::string_view role) {
  std::vector<std::int64_t> numbers;
  const auto& items = expect(tuple, Kind::kTuple, role).items;
  if (items.size() > kMostDimensions) damaged(fmt::format("{} has {} numbers", role, items.size()));
  for (const Id item : items) {
    numbers.push_back(expect(item, Kind::kInteger, role).integer);
    if (numbers.back() < 0) damaged(fmt::format("{} holds {}", role, numbers.back()));
  }
  return numbers;
}

// (storage, offset, size, stride, requires_grad, backward_hooks[, metadata])
void Unpickler::rebuild_tensor(const std::vector<Id>& arguments) {
  if (arguments.size() != 6 && arguments.size() != 7)
    damaged(fmt::format("a tensor has {} parts instead of 6", arguments.size()));
  const Value& storage = expect(arguments[0], Kind::kStorage, "the storage of a tensor");
  PickledTensor tensor;
  tensor.spec.dtype = storage.dtype;
  tensor.storage = storage.text;
  tensor.storage_numel = storage.integer;
  tensor.offset = expect(arguments[1], Kind::kInteger, "the offset of a tensor").integer;
  tensor.spec.shape = sizes(arguments[2], "the shape of a tensor");
  tensor.strides = sizes(arguments[3], "the strides of a tensor");
  if (tensor.offset < 0) damaged(fmt::format("the offset of a tensor is {}", tensor.offset));
  if (tensor.strides.size() != tensor.spec.shape.size()) damaged("shape and strides of a tensor differ in length");
  if (!checked_numel(tensor.spec.shape)) damaged(fmt::format("a tensor has shape {}", shape_text(tensor.spec.shape)));
  tensors_.push_back(std::move(tensor));
  push({Kind::kTensor, static_cast<std::int64_t>(tensors_.size() - 1), {}, {}, {}});
}

bool Unpickler::holds_tensors(const Value& dict) const {
  for (const Id item : dict.items)
    if (values_[item].kind == Kind::kTensor) return true;
  return false;
}

std::vector<PickledTensor> Unpickler::collect() {
  const Value& dict = value(top());
  if (dict.kind != Kind::kDict)
    throw CheckpointError("{}: expected a dictionary of tensors; found {}; save model.state_dict() with torch.save",
                          origin_, kind_name(dict.kind));
  std::vector<PickledTensor> found;
  std::set<std::string> names;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Value& key = value(dict.items[i]);
    const Value& item = value(dict.items[i + 1]);
    const std::string name = key.kind == Kind::kText ? key.text : kind_name(key.kind);
    if (item.kind == Kind::kDict && holds_tensors(item))
      throw CheckpointError(
          "{}: expected a flat dictionary of tensors; '{}' is itself a dictionary of tensors; save "
          "that one alone with torch.save",
          origin_, printable(name));
    if (item.kind != Kind::kTensor) continue;
    if (key.kind != Kind::kText)
      throw CheckpointError(
          "{}: expected names as keys; a tensor stands under {}; save model.state_dict() with torch.save", origin_,
          kind_name(key.kind));
    if (!names.insert(name).second)
      throw CheckpointError("{}: tensor '{}' stands twice in it; corrupt file?", origin_, printable(name));
    found.push_back(tensors_[static_cast<std::size_t>(item.integer)]);
    found.back().spec.name = name;
  }
  return found;
}

}  // namespace

std::vector<PickledTensor> unpickle_state_dict(std::string_view pickle, const std::string& origin) {
  return Unpickler(pickle, origin).run();
}

}  // namespace baichuan
