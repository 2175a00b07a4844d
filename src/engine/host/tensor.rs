//! Plain tensors to ONNX Runtime's values and back, without copies where nothing has to be converted: inputs are borrowed, and outputs stay in ONNX Runtime's
//! memory until whoever asked for them has copied them to where they are wanted.
//!
//! Outputs are given as 32-bit floats or 64-bit integers: `float16`, `bfloat16` and `float64` become the former, the
//! smaller integers and booleans the latter.

use crate::engine::{EngineError, Tensor, TensorData, Values};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, TensorValueType, ValueType};
use std::fmt::Debug;

/// What the graph says about one of its inputs.
#[derive(Debug)]
pub(super) struct InputSpec {
    name: String,
    /// `None` where the input is no tensor.
    element: Option<TensorElementType>,
    /// Axes, outermost first; −1 where any size will do. `None` where the graph does not even give their number.
    dims: Option<Vec<i64>>,
    /// Whether it has no default.
    required: bool,
}

/// The inputs that a session needs, and those that it takes.
pub(super) fn input_specs(session: &Session) -> Vec<InputSpec> {
    let spec = |name: &str, dtype: &ValueType, required| InputSpec {
        name: name.to_owned(),
        element: dtype.tensor_type(),
        // ONNX Runtime gives no axes both for a scalar and for a tensor of unknown rank: neither can be checked.
        dims: dtype.tensor_shape().filter(|shape| !shape.is_empty()).map(|shape| shape.to_vec()),
        required,
    };
    let required = session.inputs().iter().map(|input| spec(input.name(), input.dtype(), true));
    let overridable = session.overridable_initializers();
    let optional = overridable.iter().map(|input| spec(input.name(), input.dtype(), false));
    required.chain(optional).collect()
}

/// Checks names, types and axes, so that a mistake is told in the words of the caller.
///
/// # Errors
/// [`EngineError::Run`].
pub(super) fn check_inputs(specs: &[InputSpec], inputs: &[Tensor]) -> Result<(), EngineError> {
    let wrong = |reason| Err(EngineError::Run { reason });
    if let Some(spec) = specs.iter().find(|spec| spec.required && !inputs.iter().any(|input| input.name == spec.name)) {
        return wrong(format!("input {} is missing", spec.name));
    }
    for (index, input) in inputs.iter().enumerate() {
        let Some(spec) = specs.iter().find(|spec| spec.name == input.name) else {
            let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            return wrong(format!("it has no input {} (its inputs are {})", input.name, known.join(", ")));
        };
        if inputs[..index].iter().any(|other| other.name == input.name) {
            return wrong(format!("input {} is given twice", input.name));
        }
        let element = element_of(&input.data);
        if spec.element.is_none_or(|wanted| !is_fed_from(wanted, element)) {
            let wanted = spec.element.map_or_else(|| "no tensor".to_owned(), |wanted| wanted.to_string());
            return wrong(format!("input {} takes {wanted}, not {element}", input.name));
        }
        if let Some(dims) = &spec.dims
            && !fits(dims, &input.shape)
        {
            return wrong(format!("input {} takes {}, not {:?}", input.name, shape_text(dims), input.shape));
        }
        if !input.fills_its_shape() {
            let len = input.data.len();
            return wrong(format!("input {} has {len} values, which do not fill {:?}", input.name, input.shape));
        }
    }
    Ok(())
}

fn element_of(data: &TensorData) -> TensorElementType {
    match data {
        TensorData::F32(_) => TensorElementType::Float32,
        TensorData::I64(_) => TensorElementType::Int64,
    }
}

/// Whether an input of type `wanted` can be fed values that come as `given`: floats as floats and bytes, integers as
/// integers and truth values.
fn is_fed_from(wanted: TensorElementType, given: TensorElementType) -> bool {
    use TensorElementType as Element;
    match given {
        Element::Float32 => {
            matches!(
                wanted,
                Element::Float32 | Element::Float16 | Element::Bfloat16 | Element::Float64 | Element::Uint8
            )
        }
        _ => matches!(
            wanted,
            Element::Int64
                | Element::Int32
                | Element::Int16
                | Element::Int8
                | Element::Uint32
                | Element::Uint16
                | Element::Uint8
                | Element::Bool
        ),
    }
}

/// The tensor's values as the graph's input takes them: a view where they are of its type, else a converted copy. Floats
/// are rounded to the nearest byte; what is too large for a smaller type becomes the largest that it has.
///
/// # Errors
/// [`EngineError::Run`] when ONNX Runtime does not take the shape.
pub(super) fn to_ort<'t>(
    specs: &[InputSpec],
    tensor: &'t Tensor,
) -> Result<(&'t str, SessionInputValue<'t>), EngineError> {
    use TensorElementType as Element;
    let wanted = specs.iter().find(|spec| spec.name == tensor.name).and_then(|spec| spec.element);
    let shape = tensor.shape.as_slice();
    let value = match (&tensor.data, wanted.unwrap_or(element_of(&tensor.data))) {
        (TensorData::F32(values), Element::Float16) => copied(shape, values, |&x| half::f16::from_f32(x)),
        (TensorData::F32(values), Element::Bfloat16) => copied(shape, values, |&x| half::bf16::from_f32(x)),
        (TensorData::F32(values), Element::Float64) => copied(shape, values, |&x| f64::from(x)),
        (TensorData::F32(values), Element::Uint8) => copied(shape, values, |&x| x.round_ties_even() as u8),
        (TensorData::F32(values), _) => TensorRef::from_array_view((shape, &**values)).map(SessionInputValue::from),
        (TensorData::I64(values), Element::Int32) => {
            copied(shape, values, |&x| x.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
        }
        (TensorData::I64(values), Element::Int16) => {
            copied(shape, values, |&x| x.clamp(i16::MIN.into(), i16::MAX.into()) as i16)
        }
        (TensorData::I64(values), Element::Int8) => {
            copied(shape, values, |&x| x.clamp(i8::MIN.into(), i8::MAX.into()) as i8)
        }
        (TensorData::I64(values), Element::Uint32) => copied(shape, values, |&x| x.clamp(0, u32::MAX.into()) as u32),
        (TensorData::I64(values), Element::Uint16) => copied(shape, values, |&x| x.clamp(0, u16::MAX.into()) as u16),
        (TensorData::I64(values), Element::Uint8) => copied(shape, values, |&x| x.clamp(0, u8::MAX.into()) as u8),
        (TensorData::I64(values), Element::Bool) => copied(shape, values, |&x| x != 0),
        (TensorData::I64(values), _) => TensorRef::from_array_view((shape, &**values)).map(SessionInputValue::from),
    };
    value
        .map(|value| (tensor.name.as_str(), value))
        .map_err(|error| EngineError::Run { reason: format!("input {}: {}", tensor.name, error.message()) })
}

fn copied<'t, S, T: PrimitiveTensorElementType + Debug + Clone + 'static>(
    shape: &[usize],
    values: &[S],
    convert: impl Fn(&S) -> T,
) -> ort::Result<SessionInputValue<'t>> {
    let values: Vec<T> = values.iter().map(convert).collect();
    ort::value::Tensor::from_array((shape.to_vec(), values)).map(SessionInputValue::from)
}

/// Whether an output is a tensor of a type that [`from_ort`] can give.
pub(super) fn is_of_numbers(value: &DynValue) -> bool {
    use TensorElementType as Element;
    value
        .dtype()
        .tensor_type()
        .is_some_and(|element| is_fed_from(element, Element::Float32) || is_fed_from(element, Element::Int64))
}

/// An output. Where no conversion is needed it keeps ONNX Runtime's value alive.
///
/// # Errors
/// [`EngineError::Run`] when it is no tensor of numbers.
pub(super) fn from_ort(name: &str, value: DynValue) -> Result<Tensor, EngineError> {
    use TensorElementType as Element;
    let dtype = value.dtype().clone();
    let unreadable =
        || EngineError::Run { reason: format!("output {name} is {dtype}, but only tensors of numbers can be read") };
    let element = dtype.tensor_type().ok_or_else(unreadable)?;
    let shape = value.shape().iter().map(|&dim| usize::try_from(dim).unwrap_or_default()).collect();
    let data = match element {
        Element::Float32 => lent(value).map(TensorData::F32),
        Element::Int64 => lent(value).map(TensorData::I64),
        _ => converted(element, &value),
    };
    Ok(Tensor { name: name.to_owned(), shape, data: data.ok_or_else(unreadable)? })
}

/// An output's values where they are.
fn lent<T: PrimitiveTensorElementType + Debug + Send + Sync + 'static>(value: DynValue) -> Option<Values<T>> {
    struct Output<T: PrimitiveTensorElementType + Debug>(ort::value::Tensor<T>);

    impl<T: PrimitiveTensorElementType + Debug> AsRef<[T]> for Output<T> {
        fn as_ref(&self) -> &[T] {
            self.0.extract_tensor().1
        }
    }

    // What lies on a device is found out here.
    extract::<T>(&value)?;
    value.downcast::<TensorValueType<T>>().ok().map(|tensor| Values::of(Output(tensor)))
}

fn converted(element: TensorElementType, value: &DynValue) -> Option<TensorData> {
    use TensorElementType as Element;
    match element {
        Element::Float64 => floats(value, |&x: &f64| x as f32),
        Element::Float16 => floats(value, |x: &half::f16| x.to_f32()),
        Element::Bfloat16 => floats(value, |x: &half::bf16| x.to_f32()),
        Element::Int32 => integers(value, |&x: &i32| x.into()),
        Element::Int16 => integers(value, |&x: &i16| x.into()),
        Element::Int8 => integers(value, |&x: &i8| x.into()),
        Element::Uint32 => integers(value, |&x: &u32| x.into()),
        Element::Uint16 => integers(value, |&x: &u16| x.into()),
        Element::Uint8 => integers(value, |&x: &u8| x.into()),
        Element::Bool => integers(value, |&x: &bool| x.into()),
        _ => None,
    }
}

fn extract<T: PrimitiveTensorElementType + Debug>(value: &DynValue) -> Option<&[T]> {
    value.try_extract_tensor::<T>().ok().map(|(_, values)| values)
}

fn floats<T: PrimitiveTensorElementType + Debug>(value: &DynValue, convert: impl Fn(&T) -> f32) -> Option<TensorData> {
    extract::<T>(value).map(|values| TensorData::F32(values.iter().map(convert).collect()))
}

fn integers<T: PrimitiveTensorElementType + Debug>(
    value: &DynValue,
    convert: impl Fn(&T) -> i64,
) -> Option<TensorData> {
    extract::<T>(value).map(|values| TensorData::I64(values.iter().map(convert).collect()))
}

fn fits(dims: &[i64], shape: &[usize]) -> bool {
    dims.len() == shape.len() && dims.iter().zip(shape).all(|(&dim, &size)| dim < 0 || usize::try_from(dim) == Ok(size))
}

/// Axes as people write them: `[?, 3, 224, 224]`.
fn shape_text(dims: &[i64]) -> String {
    let dims: Vec<String> = dims.iter().map(|&dim| if dim < 0 { "?".into() } else { dim.to_string() }).collect();
    format!("[{}]", dims.join(", "))
}
