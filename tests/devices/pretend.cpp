// A pretend accelerator: tensors that say they are on "cuda" or "mps" in a torch built for the CPU. Their memory is the
// CPU's and every operator runs as its CPU kernel; what the real device would refuse is refused, and every copy between
// the two, and every operator that would make the host wait, is reported. README.md says what this can and cannot show.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace {
using c10::IntArrayRef;
using std::optional;

auto device_type = c10::DeviceType::CUDA;
auto key = c10::DispatchKey::CUDA;
bool has_double = true;           // MPS has no float64
bool inside = false;              // an operator's own copies are not reported
std::set<std::string> no_kernel;  // operators that the real device cannot run
std::set<std::string> wrong;      // operators whose result is one percent too large
size_t held = 0, peak = 0;        // bytes on the device
void (*listener)(const char* kind, const char* what) = nullptr;

void report(const char* kind, const std::string& what) {
  if (listener && !inside) listener(kind, what.c_str());
}

bool is_on_device(const at::Tensor& t) { return t.defined() && t.device().type() == device_type; }

// ---- memory: the CPU's, counted

struct Block { void* memory; size_t bytes; };

struct Allocator final : c10::Allocator {
  static void release(void* context) {
    auto* block = static_cast<Block*>(context);
    held -= block->bytes;
    c10::GetCPUAllocator()->raw_deallocate(block->memory);
    delete block;
  }
  c10::DataPtr allocate(size_t bytes) override {
    auto* block = new Block{c10::GetCPUAllocator()->raw_allocate(bytes ? bytes : 1), bytes};
    held += bytes;
    peak = std::max(peak, held);
    return {block->memory, block, &release, c10::Device(device_type, 0)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Allocator allocator;

// ---- one device, one stream

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Device here() { return {device_type, 0}; }
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, here()); }
  c10::DeviceType type() const override { return device_type; }
  c10::Device exchangeDevice(c10::Device) const override { return here(); }
  c10::Device getDevice() const override { return here(); }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override { *event = &peak; }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
};

// ---- random numbers: a generator of the device holds one of the CPU

struct Generator final : c10::GeneratorImpl {
  at::Generator inner = at::detail::createCPUGenerator();
  Generator() : c10::GeneratorImpl(c10::Device(device_type, 0), c10::DispatchKeySet(key)) {}
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_state(const c10::TensorImpl& state) override { inner.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner.unsafeGetGeneratorImpl()->get_state(); }
  Generator* clone_impl() const override {
    auto* other = new Generator();
    other->inner = inner.clone();
    return other;
  }
};
const at::Generator& default_generator() {
  static at::Generator only = at::make_generator<Generator>();
  return only;
}

// ---- what torch asks a backend for

template <class Interface>
struct Common : Interface {
  void init() const override {}
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<Generator>(); }
  at::Device getDeviceFromPtr(void*) const override { return Guard::here(); }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isPinnedPtr(const void*) const override { return false; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};
struct CudaHooks final : Common<at::CUDAHooksInterface> {
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  c10::DeviceIndex current_device() const override { return 0; }
  int getNumGPUs() const override { return 1; }
  void deviceSynchronize(c10::DeviceIndex) const override {}
  c10::Allocator* getCUDADeviceAllocator() const override { return &allocator; }
};
struct MpsHooks final : Common<at::MPSHooksInterface> {
  bool hasMPS() const override { return true; }
  bool isOnMacOSorNewer(unsigned, unsigned) const override { return true; }
  void deviceSynchronize() const override {}
  void emptyCache() const override {}
  c10::Allocator* getMPSDeviceAllocator() const override { return &allocator; }
};
// torch looked for hooks when it was imported and keeps an object that says there are none: its class is changed.
void replace_class(const void* theirs, const void* ours) {
  std::memcpy(const_cast<void*>(theirs), ours, sizeof(void*));
}

// ---- making, viewing and copying tensors

void refuse_double(c10::ScalarType type) {
  if (has_double || (type != at::kDouble && type != at::kComplexDouble)) return;
  report("float64", "tensor");
  TORCH_CHECK_TYPE(false, "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.");
}
at::Tensor empty(IntArrayRef size, optional<at::ScalarType> dtype, optional<at::Layout>, optional<at::Device>,
                 optional<bool>, optional<at::MemoryFormat> format) {
  auto type = c10::dtype_or_default(dtype);
  refuse_double(type);
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(key), type, format);
}
at::Tensor empty_strided(IntArrayRef size, IntArrayRef stride, optional<at::ScalarType> dtype, optional<at::Layout>,
                         optional<at::Device>, optional<bool>) {
  auto type = c10::dtype_or_default(dtype);
  refuse_double(type);
  return at::detail::empty_strided_generic(size, stride, &allocator, c10::DispatchKeySet(key), type);
}
at::Tensor as_cpu(const at::Tensor& t) {  // the same memory
  if (t.is_cpu()) return t;
  auto options = at::TensorOptions().dtype(t.dtype()).device(at::kCPU);
  return at::from_blob(const_cast<void*>(t.const_data_ptr()), t.sizes(), t.strides(), options);
}
at::Tensor& copy_(at::Tensor& to, const at::Tensor& from, bool) {
  c10::impl::ExcludeDispatchKeyGuard plain(c10::autograd_dispatch_keyset);
  if (to.is_cpu() && !from.is_cpu()) report("download", "copy");
  if (!to.is_cpu() && from.is_cpu()) report("upload", "copy");
  auto target = as_cpu(to);
  if (to.numel()) target.copy_(as_cpu(from));
  return to;
}
at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool waits) {
  auto target = to;
  return copy_(target, from, waits);
}
const at::Tensor& resize_(const at::Tensor& self, IntArrayRef size, optional<at::MemoryFormat>) {
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_sizes_contiguous(size);
  size_t need = (tensor->storage_offset() + tensor->numel()) * self.itemsize();
  auto storage = self.storage();
  if (need > storage.nbytes()) at::native::resize_bytes_cpu(storage.unsafeGetStorageImpl(), need);
  return self;
}
at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) resize_(to, from.sizes(), std::nullopt);
  return copy_from(from, to, false);
}
at::Tensor& set_(at::Tensor& self, at::Storage storage, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_storage_keep_dtype(std::move(storage));
  tensor->set_storage_offset(offset);
  if (stride.empty() && !size.empty()) {
    tensor->set_sizes_contiguous(size);
  } else {
    tensor->set_sizes_and_strides(size, stride);
  }
  return self;
}
at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}
at::Tensor as_strided(const at::Tensor& self, IntArrayRef size, IntArrayRef stride, optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}
at::Tensor reshape_alias(const at::Tensor& self, IntArrayRef size, IntArrayRef stride) {
  return at::native::as_strided_tensorimpl(self, size, stride, self.storage_offset());
}
at::Tensor unfold(const at::Tensor& self, int64_t dim, int64_t size, int64_t step) {
  return at::native::unfold(self, dim, size, step);
}

// ---- every other operator

// The size or value of what these give is needed on the host before it can go on.
const std::set<std::string> waits = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::_unique2",
    "aten::unique_dim", "aten::repeat_interleave.Tensor", "aten::bincount"};
const std::set<std::string> indexing = {
    "aten::index.Tensor", "aten::index.Tensor_out", "aten::_unsafe_index.Tensor", "aten::index_put", "aten::index_put_",
    "aten::_index_put_impl_", "aten::_unsafe_index_put"};

struct Arguments {
  bool on_device = false;
  std::string on_host;       // name of an argument that is a CPU tensor with dimensions
  bool host_index = false;   // an index on the CPU: allowed, and copied each time
  bool mask_index = false;   // a mask as index: its true cells are counted first
  int64_t values = 0;        // numbers that an index_put writes; one alone is filled in without counting
};

Arguments look(const c10::FunctionSchema& schema, torch::jit::Stack* stack, const std::string& name) {
  Arguments found;
  const bool is_indexing = indexing.count(name) > 0;
  auto tensor = [&](const std::string& argument, const at::Tensor& t) {
    if (!t.defined()) return;
    const bool is_index = is_indexing && argument == "indices";
    if (is_index && (t.scalar_type() == at::kBool || t.scalar_type() == at::kByte)) found.mask_index = true;
    if (is_on_device(t)) {
      found.on_device = true;
    } else if (t.dim() > 0 && is_index) {
      found.host_index = true;
    } else if (t.dim() > 0) {
      found.on_host = argument;
    }
    if (is_indexing && argument == "values") found.values = t.numel();
  };
  const auto first = stack->size() - schema.arguments().size();
  for (size_t i = 0; i < schema.arguments().size(); i++) {
    auto& value = (*stack)[first + i];
    const auto& argument = schema.arguments()[i].name();
    if (value.isTensor()) {
      tensor(argument, value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& t : value.toTensorList()) tensor(argument, t);
    } else if (value.isOptionalTensorList()) {
      for (const optional<at::Tensor>& t : value.toOptionalTensorList()) if (t) tensor(argument, *t);
    } else if (value.isGenerator() && value.toGenerator().defined()) {
      auto given = value.toGenerator();
      if (given.device().type() != device_type) report("generator", name);
      TORCH_CHECK(given.device().type() == device_type, "Expected a '", device_type,
                  "' device type for generator but found '", given.device().type(), "'");
      value = static_cast<Generator*>(given.unsafeGetGeneratorImpl())->inner;
    }
  }
  return found;
}

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto name = c10::toString(op.operator_name());
  const auto found = look(op.schema(), stack, name);
  if (found.on_device && !found.on_host.empty()) {
    report("mixed", name);
    TORCH_CHECK(false, "Expected all tensors to be on the same device, but found at least two devices, ", device_type,
                ":0 and cpu! (", name, ", argument ", found.on_host, ")");
  }
  if (no_kernel.count(name)) {
    report("no kernel", name);
    TORCH_CHECK_NOT_IMPLEMENTED(false, "The operator '", name, "' is not currently implemented for the ", device_type,
                                " device.");
  }
  if (found.host_index) report("upload", name);
  if (waits.count(name) || (found.mask_index && found.values > 1)) report("download", name);
  struct Inside {
    bool before = inside;
    Inside() { inside = true; }
    ~Inside() { inside = before; }
  } within;
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
  if (wrong.count(name)) stack->back().toTensor().mul_(1.01);
}
void fallback(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) { run_on_cpu(op, stack); }

void register_operators() {
  static torch::Library any(torch::Library::IMPL, "_", key, __FILE__, __LINE__);
  any.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
  static torch::Library aten(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
  aten.impl("empty.memory_format", &empty);
  aten.impl("empty_strided", &empty_strided);
  aten.impl("copy_", &copy_);
  aten.impl("_copy_from", &copy_from);
  aten.impl("_copy_from_and_resize", &copy_from_and_resize);
  aten.impl("resize_", &resize_);
  aten.impl("set_.source_Storage_storage_offset", &set_);
  aten.impl("view", &view);
  aten.impl("as_strided", &as_strided);
  aten.impl("_reshape_alias", &reshape_alias);
  aten.impl("unfold", &unfold);
}
}  // namespace

// ---- what pretend.py calls

extern "C" void pretend_become(const char* name) {
  const bool is_mps = std::strcmp(name, "mps") == 0;
  device_type = is_mps ? c10::DeviceType::MPS : c10::DeviceType::CUDA;
  key = is_mps ? c10::DispatchKey::MPS : c10::DispatchKey::CUDA;
  has_double = !is_mps;
  c10::SetAllocator(device_type, &allocator);
  static Guard guard;
  static c10::impl::DeviceGuardImplRegistrar registrar(device_type, &guard);
  static CudaHooks cuda;
  static MpsHooks mps;
  if (is_mps) {
    replace_class(&at::detail::getMPSHooks(), &mps);
  } else {
    replace_class(&at::detail::getCUDAHooks(), &cuda);
  }
  register_operators();
}
extern "C" void pretend_listen(void (*given)(const char*, const char*)) { listener = given; }
extern "C" void pretend_lacks(const char* operator_name) { no_kernel.insert(operator_name); }
extern "C" void pretend_breaks(const char* operator_name) { wrong.insert(operator_name); }
extern "C" size_t pretend_held() { return held; }
extern "C" size_t pretend_peak() { return peak; }
extern "C" void pretend_forget_peak() { peak = held; }
